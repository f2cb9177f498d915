// One batch: how far it is, where its lines are, what happened, what came out and what it cost.

import { follow, get, lines, post, save } from "./api.js";
import { badge, bytes, card, clock, confirmed, dollars, fact, h, lasted, number, plural, progress, say, show, table, time, trouble, words } from "./dom.js";
import { distinct, named } from "./list.js";

const ENDED = new Set(["completed", "failed", "expired", "cancelled"]);
const STOPPABLE = new Set(["validating", "in_progress"]);
const PLANNED_BY_ITSELF = 20000; // lines: making a plan anew takes a worker some seconds beyond
const PAGE = 50;
const TOLD = {
  created: "Created",
  retry_of: "Made of the failed lines of another batch",
  came_inline: "Its lines came with the create",
  split: "Split into jobs",
  accepted: "Accepted by the provider",
  adopted: "Found at the provider, provisionally",
  in_doubt: "In doubt: the answer to the create was lost",
  not_accepted: "Not accepted; it may be sent again",
  job_doubled: "Made twice at the provider",
  rescued: "Rescued: failed lines go on to another target",
  not_rescued: "Failed lines do not go on",
  looked_at_again: "Looked at once more",
  refused: "Refused by the provider",
  no_quota: "No quota left; it is sent again",
  cut: "Cut into smaller jobs",
  rows_not_counted: "Rows that are not ours were left out",
  calls_begin: "Ordinary calls begin",
  merging: "Merging the results",
  cancel_asked: "Cancel asked for",
  window_over: "The completion window is over",
  credentials_given: "Credentials given again",
  cleared: "Cleared up at the provider",
  objects_left: "Objects left at the provider",
  completed: "Merged: completed",
  failed: "Failed",
  expired: "Merged: expired",
  cancelled: "Merged: cancelled",
};
const BAD = new Set(["in_doubt", "refused", "failed", "job_doubled", "not_rescued", "objects_left", "expired"]);
const GOOD = new Set(["accepted", "completed", "rescued"]);

function heading(batch, actions) {
  const until = ENDED.has(batch.status) ? batch[`${batch.status}_at`] : Date.now() / 1000;
  return [
    h("p", { class: "small" }, h("a", { href: "#/batches" }, "Batches"), " / ", h("span", { class: "mono" }, batch.id)),
    h("div", { class: "head" }, h("h1", { tabindex: "-1" }, named(batch)), badge(batch.status), h("span", { class: "small" }, `${batch.endpoint} · ${lasted(until - batch.created_at)}`), h("div", { class: "row push" }, actions)),
  ];
}

function waiting(batch) {
  const wait = batch.x_status;
  if (!wait || ENDED.has(batch.status)) return null;
  const next = wait.next_try_at ? [" Next try ", time(wait.next_try_at), "."] : null;
  return h("div", { class: "notice" }, h("strong", {}, `Waits: ${words(wait.waiting_for)}. `), wait.message, next);
}

function faults(batch) {
  const found = (batch.errors && batch.errors.data) || [];
  if (!found.length) return null;
  return card("Why it failed", table("Errors of the file", ["Line", "Code", "Field", "Message"], found.slice(0, 100).map((each) => [each.line === null ? "–" : number(each.line), each.code || "–", each.param || "–", each.message])));
}

const errorOf = (job) => (job.error ? [h("strong", {}, job.error.code), h("span", { class: "small" }, job.error.message)] : job.x_status ? [words(job.x_status.waiting_for), h("span", { class: "small" }, job.x_status.message)] : "–");

function jobs(batch) {
  const all = batch.jobs || [];
  const of = (provider) => {
    const mine = all.filter((each) => each.provider === provider);
    const sum = (name) => mine.reduce((total, each) => total + (each.request_counts[name] || 0), 0);
    const rows = mine.map((each) => [
      h("span", {}, `${each.part}`, each.rescued_from ? h("span", { class: "small" }, `rescued from ${each.rescued_from.join(", ")}`) : null, each.cut_from !== undefined ? h("span", { class: "small" }, `cut from ${each.cut_from}`) : null),
      badge(each.status),
      progress(each.request_counts, `Progress of part ${each.part}`),
      [each.virtual_key, h("span", { class: "small" }, each.model || distinct((each.models || []).map((one) => one.model)).join(", ") || "models of its lines")],
      each.way === "direct" ? "ordinary calls" : h("span", { class: "mono" }, each.job || "–"),
      dollars(each.cost),
      errorOf(each),
    ]);
    return h("div", {}, h("h3", {}, provider, " ", h("span", { class: "small" }, `${plural(mine.length, "job")}, ${number(sum("total"))} lines`)), table(`Jobs at ${provider}`, ["Part", "Status", "Progress", "Account", "Job", "Cost", "Waits for, or error"], rows));
  };
  return [distinct(all.map((each) => each.provider)).map(of), all.length ? null : h("p", { class: "muted" }, ENDED.has(batch.status) ? "No job was made." : "The file is being checked and split.")];
}

function moment(entry) {
  const where = entry.part === undefined ? "" : [`part ${entry.part}`, entry.provider, entry.virtual_key].filter(Boolean).join(" · ");
  const mark = BAD.has(entry.what) ? "bad" : GOOD.has(entry.what) ? "good" : "";
  return h("li", { class: mark }, h("span", { class: "strong" }, TOLD[entry.what] || words(entry.what)), where ? h("span", { class: "small" }, where) : null, entry.detail ? h("span", { class: "small mono" }, entry.detail) : null, h("time", { class: "small", datetime: new Date(entry.at * 1000).toISOString() }, clock(entry.at)));
}

function costs(batch, plan, ask) {
  const estimated = plan && plan.estimated_cost !== undefined ? dollars(plan.estimated_cost) : "–";
  const saved = batch.live_cost !== undefined && batch.cost !== undefined ? batch.live_cost - batch.cost : null;
  const share = saved && batch.live_cost ? `${Math.round((100 * saved) / batch.live_cost)} % less` : null;
  return h(
    "dl",
    { class: "facts four" },
    fact("Estimated", plan === null && ask ? h("button", { type: "button", onclick: ask }, "Estimate now") : estimated, plan && plan.worst_case_cost !== undefined ? `at worst ${dollars(plan.worst_case_cost)}` : null),
    fact("Real", dollars(batch.cost), batch.cost_unknown_lines ? `without ${number(batch.cost_unknown_lines)} lines of unknown price` : ENDED.has(batch.status) ? null : "known when it has ended"),
    fact("By ordinary calls", dollars(batch.live_cost)),
    fact("Saved", saved === null ? "–" : dollars(saved), share),
  );
}

function outcome(batch, { signal }) {
  const place = h("div", {}, h("p", { class: "muted" }, "Lines are told one by one when the batch has ended."));
  const told = h("div", {});
  const open = async (group, after = 0) => {
    const asked = { outcome: group.outcome, code: group.code, virtual_key: group.virtual_key, model: group.model, after, limit: PAGE };
    try {
      const found = await lines(`batches/${batch.id}/lines`, asked);
      const rows = found.map((each) => [number(each.line), h("span", { class: "mono" }, each.custom_id), badge(each.outcome), each.code || "–", `${each.virtual_key || ""} ${each.model || ""}`, each.usage ? number(each.usage.output_tokens) : "–"]);
      const next = found.length === PAGE ? h("button", { type: "button", onclick: () => open(group, found.at(-1).line) }, "Next lines") : null;
      const title = h("h3", { tabindex: "-1" }, `Lines: ${words(group.outcome)}${group.code ? `, ${group.code}` : ""}`);
      show(told, title, table("Lines of this group", ["Line", "custom_id", "Outcome", "Code", "Account and model", "Output tokens"], rows, { empty: "No more lines." }), next);
      title.focus();
    } catch (error) {
      show(told, trouble(error));
    }
  };
  const load = async () => {
    try {
      const found = (await get(`batches/${batch.id}/outcomes`, {}, signal)).data;
      const all = found.reduce((sum, each) => sum + each.lines, 0);
      const rows = found.map((each) => [[badge(each.outcome), each.code ? h("span", { class: "small" }, each.code) : null], [each.virtual_key || "–", h("span", { class: "small" }, each.model || "")], [number(each.lines), h("span", { class: "small" }, `${((100 * each.lines) / all).toFixed(1)} %`)], number(each.first_line), h("button", { type: "button", onclick: () => open(each), "aria-label": `Show lines: ${words(each.outcome)} ${each.code || ""}` }, "Show")]);
      show(place, table("Lines by outcome and code", ["Outcome and code", "Account and model", "Lines", "First line", "Lines of it"], rows), told);
    } catch (error) {
      if (!signal.aborted) show(place, error.code === "no_lines" ? h("p", { class: "muted" }, error.message) : trouble(error));
    }
  };
  return { place, load };
}

function actions(batch, { changed }) {
  const done = async (work, text) => {
    try {
      const answer = await work();
      say(text);
      return answer;
    } catch (error) {
      say(error.message, true);
      return null;
    }
  };
  const cancel = async () => {
    if (!(await confirmed("Cancel this batch?", "Jobs that run are cancelled at their providers. Lines that are answered by then are kept, and paid for.", "Cancel the batch"))) return;
    const answer = await done(() => post(`batches/${batch.id}/cancel`), "The batch is being cancelled.");
    if (answer) changed(answer);
  };
  const retry = async () => {
    const answer = await done(() => post(`batches/${batch.id}/retry`), "A new batch of the failed lines was made.");
    if (answer) location.hash = `#/batch/${answer.id}`;
  };
  const file = (id, name) => async () => {
    const about = await done(() => get(`files/${id}`), "The download begins.");
    if (about) await done(() => save(`files/${id}/content`, name, about.bytes), "The download is done.");
  };
  const button = (text, onclick, kind) => h("button", { type: "button", class: kind, onclick }, text);
  return [
    batch.output_file_id ? button("Download answers", file(batch.output_file_id, `${batch.id}.output.jsonl`), "primary") : null,
    batch.error_file_id ? button("Download errors", file(batch.error_file_id, `${batch.id}.errors.jsonl`)) : null,
    ENDED.has(batch.status) && (batch.output_file_id || batch.error_file_id) ? button("Download lines", () => done(() => save(`batches/${batch.id}/lines`, `${batch.id}.lines.jsonl`), "The download is done.")) : null,
    ENDED.has(batch.status) && batch.request_counts.failed ? button("Retry failed lines", retry) : null,
    STOPPABLE.has(batch.status) ? button("Cancel", cancel, "danger") : null,
  ];
}

function about(batch, file) {
  const size = file ? bytes(file.bytes) : null;
  const usage = batch.usage;
  const meta = Object.entries(batch.metadata || {}).filter(([, value]) => value !== named(batch)).map(([name, value]) => fact(name, value));
  return h(
    "dl",
    { class: "facts" },
    fact("Input file", file ? file.filename : h("span", { class: "mono" }, batch.input_file_id), size),
    fact("Created", time(batch.created_at), clock(batch.created_at)),
    fact("Window", batch.completion_window, batch.expires_at ? `until ${clock(batch.expires_at)}` : null),
    usage ? fact("Tokens", number(usage.total_tokens), `${number(usage.input_tokens)} in, ${number(usage.output_tokens)} out`) : null,
    batch.x_rescued ? fact("Rescued", plural(batch.x_rescued.lines, "line")) : null,
    meta,
  );
}

export async function batch(main, { id, signal }) {
  let now = await get(`batches/${id}`, { include: "jobs" }, signal);
  let plan = null;
  let file = null;
  const top = h("div", {});
  const spent = h("div", {});
  const where = h("div", {});
  const facts = h("div", {});
  const happened = h("ol", { class: "timeline" });
  const bar = h("div", {});
  const told = outcome(now, { signal });
  let ended = false;
  const estimate = async () => {
    try {
      plan = await get(`batches/${id}/plan`, {}, signal);
    } catch {
      plan = {};
    }
    if (!signal.aborted) draw(now);
  };
  const draw = (fresh) => {
    if (signal.aborted) return;
    const was = document.activeElement && top.contains(document.activeElement) ? document.activeElement.textContent : null;
    now = fresh.jobs ? fresh : { ...fresh, jobs: now.jobs, cost: now.cost, live_cost: now.live_cost };
    show(top, heading(now, actions(now, { changed: draw })), waiting(now));
    show(bar, progress(now.request_counts, "Progress of the batch"));
    show(spent, costs(now, plan, estimate));
    show(where, jobs(now));
    show(facts, about(now, file));
    if (was) [...top.querySelectorAll("h1, button, a")].find((each) => each.textContent === was)?.focus();
    if (ENDED.has(now.status) && !ended) {
      ended = true;
      told.load();
    }
  };
  draw(now);
  show(main, top, bar, faults(now), h("div", { class: "columns" }, card("Cost", spent), card("About", facts)), card("Jobs by provider", where), h("div", { class: "columns" }, card("Lines", told.place), card("Timeline", happened)));
  const seen = (event, data) => {
    if (signal.aborted) return;
    if (event === "timeline") return happened.append(moment(data));
    const over = ENDED.has(data.status) && !ENDED.has(now.status);
    draw(data);
    if (over) {
      say(`The batch is ${words(data.status)}.`);
      if (data.errors) bar.after(faults(data));
    }
  };
  follow(`batches/${id}/events`, { include: "jobs" }, seen, signal).catch((error) => signal.aborted || say(error.message, true));
  if (now.request_counts.total && now.request_counts.total <= PLANNED_BY_ITSELF) estimate();
  get(`files/${now.input_file_id}`, {}, signal).then(
    (found) => {
      file = found;
      draw(now);
    },
    () => {},
  );
}
