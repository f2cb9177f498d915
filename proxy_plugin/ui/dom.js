// Elements and words. Text is always set as text: nothing that came from the network becomes markup.

const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "disabled" || name === "hidden") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((each) => each !== null && each !== undefined && each !== false));
  return element;
}

export const h = (tag, attributes, ...children) => filled(document.createElement(tag), attributes, children);
export const s = (tag, attributes, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);
export const show = (place, ...children) => place.replaceChildren(...children.flat(Infinity).filter(Boolean));

const NUMBER = new Intl.NumberFormat("en");
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
export const number = (value) => NUMBER.format(value || 0);
export const short = (value) => (Math.abs(value || 0) < 10000 ? number(value) : SHORT.format(value));
export const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : word.endsWith("ch") ? "es" : "s"}`;

export function dollars(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "$0";
  const digits = Math.abs(value) >= 1 ? 2 : Math.min(8, 1 - Math.floor(Math.log10(Math.abs(value))) + 1);
  return `$${value.toLocaleString("en", { minimumFractionDigits: Math.min(2, digits), maximumFractionDigits: digits })}`;
}

const UNITS = ["B", "KB", "MB", "GB", "TB"];
export function bytes(value) {
  let unit = 0;
  for (; value >= 1000 && unit < UNITS.length - 1; unit += 1) value /= 1000;
  return `${value < 10 && unit ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}

const AGO = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });
export function ago(seconds) {
  const off = seconds - Date.now() / 1000;
  const size = Math.abs(off);
  if (size < 60) return AGO.format(Math.round(off), "second");
  if (size < 3600) return AGO.format(Math.round(off / 60), "minute");
  if (size < 86400) return AGO.format(Math.round(off / 3600), "hour");
  return AGO.format(Math.round(off / 86400), "day");
}
export const clock = (seconds) => new Date(seconds * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
export const time = (seconds, text) =>
  seconds ? h("time", { datetime: new Date(seconds * 1000).toISOString(), title: clock(seconds) }, text || ago(seconds)) : "–";
export function lasted(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

export const words = (name) => name.replaceAll("_", " ");
export const badge = (status) => h("span", { class: `badge is-${status}` }, words(status));

export function progress(counts, label) {
  const { total = 0, completed = 0, failed = 0 } = counts || {};
  const done = completed + failed;
  const bar = s("svg", { class: "bar", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" });
  const share = (count) => (total ? (100 * count) / total : 0);
  bar.append(
    s("rect", { class: "bar-all", width: 100, height: 6 }),
    s("rect", { class: "bar-good", width: share(completed), height: 6 }),
    s("rect", { class: "bar-bad", x: share(completed), width: share(failed), height: 6 }),
  );
  const told = [`${number(done)} of ${number(total)}`, failed ? `, ${number(failed)} failed` : ""].join("");
  return h(
    "div",
    { class: "progress", role: "progressbar", "aria-label": label || "Progress", "aria-valuemin": 0, "aria-valuemax": total || 1, "aria-valuenow": done, "aria-valuetext": `${told} lines` },
    bar,
    h("span", { class: "small" }, total ? told : "no lines yet"),
  );
}

export function table(caption, heads, rows, { empty = "Nothing yet.", quiet = true } = {}) {
  if (!rows.length) return h("p", { class: "muted" }, empty);
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h(
      "table",
      {},
      h("caption", { class: quiet ? "hidden" : "" }, caption),
      h("thead", {}, h("tr", {}, heads.map((each) => h("th", { scope: "col" }, each)))),
      h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((cell, n) => h("td", { "data-label": heads[n] }, cell))))),
    ),
  );
}

export const card = (title, ...children) => {
  const id = `h-${title.toLowerCase().replaceAll(/[^a-z]+/g, "-")}`;
  return h("section", { class: "card", "aria-labelledby": id }, h("h2", { id }, title), ...children);
};
export const fact = (name, value, note) =>
  h("div", { class: "fact" }, h("dt", {}, name), h("dd", {}, value), note ? h("dd", { class: "small" }, note) : null);

let quietly;
export function say(text, bad = false) {
  const place = document.getElementById("said");
  place.className = bad ? "said bad" : "said";
  place.textContent = text;
  clearTimeout(quietly);
  quietly = setTimeout(() => (place.textContent = ""), bad ? 12000 : 5000);
}

export const trouble = (error) =>
  h("div", { class: "notice bad", role: "alert" }, h("strong", {}, "That did not work. "), error.message || String(error));

export function confirmed(title, text, yes) {
  return new Promise((resolve) => {
    const answer = (value) => () => {
      box.close();
      box.remove();
      resolve(value);
    };
    const box = h(
      "dialog",
      { "aria-labelledby": "ask-title", oncancel: answer(false) },
      h("h2", { id: "ask-title" }, title),
      h("p", {}, text),
      h("div", { class: "row end" }, h("button", { type: "button", onclick: answer(false) }, "No, go back"), h("button", { type: "button", class: "danger", onclick: answer(true) }, yes)),
    );
    document.body.append(box);
    box.showModal();
  });
}
