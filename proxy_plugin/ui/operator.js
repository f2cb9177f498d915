// What all workspaces have together: for keys of operators.

import { again, get } from "./api.js";
import { added, queue, sums, throughput } from "./charts.js";
import { ago, badge, bytes, card, dollars, h, number, plural, show, table, words } from "./dom.js";

const OPEN = ["validating", "in_progress", "finalizing", "cancelling"];

const tile = (name, value, note, bad) => h("div", { class: bad ? "tile bad" : "tile" }, h("span", { class: "big" }, value), h("span", { class: "small" }, name), note ? h("span", { class: "small" }, note) : null);

function tiles(found) {
  const sum = (work) => found.accounts.reduce((total, each) => total + work(each), 0);
  const { disk, workers } = found;
  const errors = sum((each) => each.errors.reduce((total, one) => total + one.parts, 0));
  const doubt = sum((each) => each.in_doubt);
  return h(
    "div",
    { class: "tiles", role: "group", "aria-label": "Now" },
    tile("open batches", number(OPEN.reduce((total, each) => total + (found.batches[each] || 0), 0))),
    tile("lines queued", number(sum((each) => each.queued.lines)), plural(sum((each) => each.queued.parts), "part")),
    tile("jobs in flight", number(sum((each) => each.in_flight.parts)), `${number(sum((each) => each.in_flight.lines))} lines`),
    tile("creates in doubt", number(doubt), null, doubt > 0),
    tile("refusals in 24 h", number(errors), null, errors > 0),
    tile("disk free", bytes(disk.free_bytes), `of ${bytes(disk.total_bytes)}${disk.full ? ", full" : ""}`, disk.full),
    tile("workers busy", `${workers.busy} / ${workers.count}`, `calls: ${workers.answerers_busy} / ${workers.answerers}`),
    tile("requests now", number(workers.requests), plural(workers.uploads, "upload")),
  );
}

function account(each) {
  const state = each.disabled ? h("span", { class: "small bad" }, `disabled: ${each.disabled}`) : each.retired ? h("span", { class: "small" }, "retired") : null;
  const limit = [each.max_jobs_in_flight && `${number(each.max_jobs_in_flight)} jobs`, each.max_lines_queued && `${number(each.max_lines_queued)} lines`].filter(Boolean).join(", ");
  const both = ({ parts, lines }) => (parts ? [number(parts), h("span", { class: "small" }, `${number(lines)} lines`)] : "0");
  return [
    [h("span", { class: "strong" }, each.virtual_key), h("span", { class: "small" }, each.provider || "keys that callers brought"), state],
    both(each.queued),
    [both(each.in_flight), limit ? h("span", { class: "small" }, `of ${limit}`) : null],
    both(each.collecting),
    each.in_doubt ? h("span", { class: "badge is-failed" }, number(each.in_doubt)) : "0",
    each.errors.length ? each.errors.slice(0, 3).map((one) => h("div", {}, `${one.code || "refused"} × ${number(one.parts)} `, h("span", { class: "small" }, ago(one.last_at)))) : "none",
    each.polls.jobs ? [plural(each.polls.jobs, "job"), each.polls.next_at ? h("span", { class: "small" }, `next ${ago(each.polls.next_at)}`) : null] : "–",
    each.waiting.length ? each.waiting.map((one) => h("div", {}, `${words(one.reason)} × ${number(one.parts)} `, h("span", { class: "small" }, `since ${ago(one.since)}`))) : "–",
  ];
}

export async function operator(main, { signal }) {
  const place = h("div", {});
  const draw = async () => {
    const found = await get("operator", {}, signal);
    const scroll = scrollY;
    show(
      place,
      found.not_ready ? h("div", { class: "notice bad" }, `No new work is taken: ${found.not_ready}.`) : null,
      tiles(found),
      card("Accounts", table("Accounts", ["Account", "Queue", "In flight", "Collecting", "In doubt", "Errors in 24 h", "Polls", "Waits"], found.accounts.map(account))),
      h("div", { class: "columns" }, h("div", { class: "card" }, throughput(found.hours)), h("div", { class: "card" }, queue(found.hours))),
      h("div", { class: "columns" }, h("div", { class: "card" }, sums("Spend by account", "of all batches that have ended", added(found.spend, "virtual_key", "cost"), dollars)), h("div", { class: "card" }, sums("Spend by workspace", "of all batches that have ended", added(found.spend, "workspace", "cost"), dollars))),
      h("div", { class: "columns" }, card("Batches", table("Batches by status", ["Status", "Batches"], Object.entries(found.batches).map(([status, count]) => [badge(status), number(count)]))), card("Stored", table("What workspaces store", ["Workspace", "Bytes", "Files"], found.workspaces.map((each) => [each.workspace, bytes(each.bytes), number(each.files)])))),
    );
    scrollTo(0, scroll);
  };
  await draw();
  show(main, h("h1", { tabindex: "-1" }, "Operator"), place);
  again(() => (place.contains(document.activeElement) || place.querySelector("details[open]") ? null : draw().catch(() => {})), 6000, signal);
}
