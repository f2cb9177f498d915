// Batches, newest first. The filters are in the address, so that a view can be kept and sent.

import { again, follow, get } from "./api.js";
import { badge, dollars, h, number, plural, progress, show, time, words } from "./dom.js";

const PAGE = 50;
const ENDED = new Set(["completed", "failed", "expired", "cancelled"]);
const STATUSES = ["validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"];
const SINCE = { "": "Any time", 3600: "Last hour", 86400: "Last day", 604800: "Last week", 2592000: "Last 30 days" };

export const named = (batch) => (batch.metadata && (batch.metadata.name || batch.metadata.title || batch.metadata.description)) || batch.id;
export const link = (batch) => h("a", { href: `#/batch/${encodeURIComponent(batch.id)}` }, named(batch));
export const distinct = (values) => [...new Set(values.filter(Boolean))];

function row(batch) {
  const jobs = batch.jobs || [];
  const some = (values) => (values.length > 2 ? `${values.slice(0, 2).join(", ")} +${values.length - 2}` : values.join(", "));
  const cells = [
    ["Batch", [h("span", { class: "strong" }, link(batch)), named(batch) === batch.id ? null : h("span", { class: "small mono" }, batch.id)]],
    ["Status", [badge(batch.status), batch.x_status ? h("span", { class: "small", title: batch.x_status.message }, words(batch.x_status.waiting_for)) : null]],
    ["Progress", progress(batch.request_counts, `Progress of ${named(batch)}`)],
    ["Where", [some(distinct(jobs.map((job) => job.virtual_key))) || "–", h("span", { class: "small" }, some(distinct(jobs.map((job) => job.provider))))]],
    ["Model", some(distinct(jobs.map((job) => job.model))) || batch.model || "–"],
    ["Created", time(batch.created_at)],
    ["Cost", dollars(batch.cost)],
  ];
  return h("tr", { "data-id": batch.id }, cells.map(([label, content]) => h("td", { "data-label": label }, content)));
}

function filters(query) {
  const current = (name) => query.get(name) || "";
  const option = (name) => ([value, text]) => {
    const made = h("option", { value }, text);
    made.selected = value === current(name);
    return made;
  };
  const choose = (name, label, options) => h("div", { class: "field" }, h("label", { for: `f-${name}` }, label), h("select", { id: `f-${name}`, name }, options.map(option(name))));
  const apply = (form) => {
    const wanted = new URLSearchParams([...new FormData(form)].filter(([name, value]) => value && name !== "find"));
    location.hash = `#/batches${wanted.size ? `?${wanted}` : ""}`;
  };
  const find = h("input", { id: "find", name: "find", placeholder: "batch_…", autocomplete: "off", spellcheck: "false" });
  const submit = (event) => {
    event.preventDefault();
    if (find.value.trim()) location.hash = `#/batch/${encodeURIComponent(find.value.trim())}`;
    else apply(event.currentTarget);
  };
  return (providers) =>
    h(
      "form",
      { class: "filters", onsubmit: submit, onchange: (event) => event.target !== find && apply(event.currentTarget) },
      choose("status", "Status", [["", "Any status"], ...STATUSES.map((each) => [each, words(each)])]),
      choose("provider", "Provider", [["", "Any provider"], ...providers.map((each) => [each, each])]),
      choose("since", "Created", Object.entries(SINCE).sort(([a], [b]) => a - b)),
      h("div", { class: "field" }, h("label", { for: "find" }, "Open by id"), find),
      query.size ? h("a", { class: "button", href: "#/batches" }, "Clear filters") : null,
    );
}

export async function list(main, { me, query, signal }) {
  const since = Number(query.get("since"));
  const asked = {
    limit: PAGE,
    include: "jobs",
    status: query.getAll("status"),
    custom_llm_provider: query.get("provider"),
    since: since ? Math.floor(Date.now() / 1000) - since : null,
  };
  const first = await get("batches", asked, signal);
  const body = h("tbody", {});
  const rows = new Map();
  const put = (batch, front) => {
    const made = row(batch);
    const old = rows.get(batch.id);
    rows.set(batch.id, { element: made, open: !ENDED.has(batch.status) });
    if (old) {
      const focused = old.element.contains(document.activeElement);
      old.element.replaceWith(made);
      if (focused) made.querySelector("a").focus();
    } else if (front) body.prepend(made);
    else body.append(made);
  };
  first.data.forEach((each) => put(each));
  let following = new AbortController();
  const live = () => {
    following.abort();
    following = new AbortController();
    signal.addEventListener("abort", () => following.abort());
    const open = [...rows].filter(([, { open }]) => open).map(([id]) => id).slice(0, 100);
    const seen = (event, batch) => event === "batch" && put(batch);
    if (open.length) follow("batches/events", { id: open, include: "jobs" }, seen, following.signal).catch(() => {});
  };
  const tiles = h("div", { class: "tiles", "aria-label": "Batches by status", role: "group" });
  const told = h("p", { class: "small", role: "status" });
  let { has_more: more, last_id: last } = first;
  const count = () => (told.textContent = `${plural(rows.size, "batch")} shown${more ? ", and there are more" : ""}`);
  const next = async () => {
    button.disabled = true;
    const page = await get("batches", { ...asked, after: last }, signal);
    page.data.forEach((each) => put(each));
    ({ has_more: more, last_id: last } = page);
    button.disabled = false;
    button.hidden = !more;
    count();
    live();
  };
  const button = h("button", { type: "button", onclick: next, hidden: !more }, "Show more");
  count();
  const heads = ["Batch", "Status", "Progress", "Where", "Model", "Created", "Cost"];
  show(
    main,
    h("div", { class: "head" }, h("h1", { tabindex: "-1" }, "Batches"), h("a", { class: "button primary", href: "#/new" }, "New batch")),
    tiles,
    filters(query)(distinct(me.virtual_keys.map((each) => each.provider)).sort()),
    rows.size
      ? h("div", { class: "card flush" }, h("table", { class: "batches" }, h("caption", { class: "hidden" }, "Batches, newest first"), h("thead", {}, h("tr", {}, heads.map((each) => h("th", { scope: "col" }, each)))), body))
      : h("div", { class: "card empty" }, h("p", {}, query.size ? "No batch is like this." : "There is no batch yet."), h("a", { class: "button primary", href: "#/new" }, "Make one of a file")),
    h("div", { class: "row" }, button, told),
  );
  live();
  const figures = async () => {
    const found = await get("workspace/figures", {}, signal).catch(() => null);
    if (!found || signal.aborted) return;
    const tile = (status) => h("a", { class: "tile", href: `#/batches?status=${status}` }, h("span", { class: "big" }, number(found.batches[status])), h("span", { class: "small" }, words(status)));
    show(tiles, STATUSES.filter((status) => found.batches[status]).map(tile));
  };
  const fresh = async () => {
    const page = await get("batches", asked, signal).catch(() => null);
    const news = page ? page.data.filter((each) => !rows.has(each.id)) : [];
    if (news.length && !rows.size) return list(main, { me, query, signal });
    news.reverse().forEach((each) => put(each, true));
    if (news.length) (count(), live());
    return figures();
  };
  figures();
  again(fresh, 10000, signal);
}
