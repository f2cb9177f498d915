// Who is here, which page is shown, and what is the same on all of them.

import { Refused, forget, get, remember } from "./api.js";
import { h, say, show, trouble } from "./dom.js";
import { list } from "./list.js";

const PAGES = [
  ["batches", "Batches", list],
  ["new", "New batch", async (...all) => (await import("./submit.js")).submit(...all)],
  ["usage", "Usage", async (...all) => (await import("./usage.js")).usage(...all)],
  ["operator", "Operator", async (...all) => (await import("./operator.js")).operator(...all)],
];
const main = document.getElementById("main");
let me = null;
let leaving = new AbortController();

function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [page = "batches", id] = path.split("/");
  return { page: page || "batches", id: id ? decodeURIComponent(id) : null, query: new URLSearchParams(query) };
}

function frame(current) {
  const pages = PAGES.filter(([name]) => name !== "operator" || (me && me.operator));
  const link = ([name, text]) => h("a", { href: `#/${name}`, "aria-current": name === current ? "page" : null }, text);
  show(document.getElementById("nav"), me ? pages.map(link) : []);
  const out = h("button", { type: "button", class: "plain", onclick: signOut }, "Sign out");
  show(document.getElementById("who"), ...(me ? [h("span", { class: "small", title: "caller and workspace" }, `${me.caller} · ${me.name}`), theme(), me.caller === "local" ? null : out] : [theme()]));
  show(document.getElementById("foot"), me ? h("span", {}, `proxy-plugin ${me.version} · your key is kept in this page's memory alone`) : null);
}

function theme() {
  const dark = () => (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const text = () => (dark() ? "Light" : "Dark");
  const button = h("button", { type: "button", class: "plain", "aria-label": "Change between light and dark" }, text());
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    button.textContent = text();
  });
  return button;
}

async function go() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const { page, id, query } = place();
  frame(page === "batch" ? "batches" : page);
  show(main, h("p", { class: "muted" }, "Loading…"));
  const known = PAGES.find(([name]) => name === page);
  try {
    if (page === "batch" && id) await (await import("./batch.js")).batch(main, { id, me, signal });
    else await (known || PAGES[0])[2](main, { me, query, signal });
  } catch (error) {
    if (signal.aborted) return;
    if (error instanceof Refused && error.status === 401) return signIn(error.message);
    show(main, h("h1", { tabindex: "-1" }, "Batches"), trouble(error), h("p", {}, h("a", { href: "#/batches" }, "Back to the list")));
  }
  if (signal.aborted) return;
  const title = main.querySelector("h1");
  document.title = `${title ? title.textContent : "Batches"} – proxy-plugin`;
  if (title && moved) title.focus({ preventScroll: true });
  moved = true;
}
let moved = false;

function signIn(why) {
  me = null;
  frame(null);
  const field = h("input", { id: "key", type: "password", autocomplete: "off", required: true, spellcheck: "false", "aria-describedby": "key-about" });
  const told = h("div", {}, why ? trouble({ message: why }) : null);
  const button = h("button", { class: "primary" }, "Sign in");
  const enter = async (event) => {
    event.preventDefault();
    button.disabled = true;
    remember(field.value);
    try {
      await begin();
    } catch (error) {
      forget();
      show(told, trouble(error));
      field.focus();
    }
    button.disabled = false;
  };
  show(
    main,
    h(
      "form",
      { class: "card sign-in", onsubmit: enter },
      h("h1", {}, "Sign in"),
      h("label", { for: "key" }, "Your key of this gateway"),
      field,
      h("p", { id: "key-about", class: "small" }, "The one that your SDK sends as x-portkey-api-key. It stays in this page's memory and goes when you close or reload it."),
      told,
      button,
    ),
  );
  field.focus();
}

async function begin() {
  me = await get("workspace");
  await go();
}

function signOut() {
  leaving.abort();
  forget();
  signIn();
  say("You are signed out.");
}

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", () => me && go());
addEventListener("keydown", (event) => {
  if (!me || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, dialog")) return;
  const to = { b: "#/batches", n: "#/new", u: "#/usage", o: me.operator ? "#/operator" : null }[event.key];
  if (to) location.hash = to;
  if (event.key === "/" && document.getElementById("find")) {
    event.preventDefault();
    document.getElementById("find").focus();
  }
});
begin().catch((error) => signIn([401, 404].includes(error.status) ? "" : error.message)); // 404: LiteLLM, without our header
