// A file: dropped or chosen, uploaded, planned, and only then made a batch.

import { post, remove, upload } from "./api.js";
import { bytes, card, dollars, fact, h, number, plural, say, show, table, trouble } from "./dom.js";

const ENDPOINTS = ["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/completions", "/v1/moderations", "/v1/images/generations", "/v1/ocr"];
const SHOWN = 50;

function token() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((each) => each.toString(16).padStart(2, "0")).join("");
}

// What the first line says, so that nobody has to choose what the file knows.
async function peek(file) {
  try {
    const first = (await file.slice(0, 262144).text()).split("\n").find((each) => each.trim());
    const line = JSON.parse(first);
    return { url: line.url, model: line.body && line.body.model };
  } catch {
    return {};
  }
}

function target(me) {
  const option = (value, text, chosen) => {
    const made = h("option", { value }, text);
    made.selected = chosen;
    return made;
  };
  const keys = me.virtual_keys.map((each) => option(`key:${each.slug}`, `${each.slug} (${each.provider})`, each.slug === me.default));
  const configs = me.configs.map((each) => option(`config:${each}`, each, each === me.default));
  return h(
    "select",
    { id: "target" },
    option("", me.default ? `By the models of the lines, else ${me.default}` : "By the models of the lines", !me.default),
    keys.length ? h("optgroup", { label: "Virtual keys" }, keys) : null,
    configs.length ? h("optgroup", { label: "Saved configs" }, configs) : null,
  );
}

function placed(value) {
  const [kind, ...rest] = value.split(":");
  if (kind === "key") return { "x-portkey-virtual-key": rest.join(":") };
  return kind === "config" ? { "x-portkey-config": rest.join(":") } : {};
}

function planned(plan, buttons) {
  const counts = plan.request_counts;
  const errors = (plan.errors && plan.errors.data) || [];
  const targets = plan.targets.map((each) => [each.virtual_key || "–", each.provider || "–", each.model || (each.models || []).map((model) => model.model || model).join(", ") || "–", number(each.lines), number(each.jobs), dollars(each.estimated_cost ?? each.cost)]);
  const notes = [
    ...plan.dropped.map((each) => `${each.param} is left out of ${plural(each.lines, "line")}: the target does not take it.`),
    ...plan.warnings.map((each) => `${each.message || each.code}${each.lines ? ` (${plural(each.lines, "line")})` : ""}`),
  ];
  const caveats = plan.caveats;
  return [
    plan.would_fail ? h("div", { class: "notice bad" }, h("strong", {}, "This batch would fail as a whole. "), "Nothing would be sent. Mend the lines below and upload the file again.") : null,
    h("dl", { class: "facts" }, fact("Lines", number(counts.total), `${number(counts.valid)} would be sent, ${number(counts.rejected)} not`), fact("Jobs", number(plan.jobs)), plan.cached ? fact("Kept answers", number(plan.cached), "cost nothing") : null, fact("Estimated cost", dollars(plan.estimated_cost), plan.worst_case_cost !== undefined ? `at worst ${dollars(plan.worst_case_cost)}` : "at batch prices")),
    buttons,
    h("h3", {}, "Where the lines go"),
    table("Targets", ["Account", "Provider", "Model", "Lines", "Jobs", "Estimated"], targets, { empty: "Nowhere." }),
    errors.length ? [h("h3", {}, "Lines that would not be sent"), table("Errors by line", ["Line", "Code", "Field", "Message"], errors.slice(0, SHOWN).map((each) => [each.line === null ? "–" : number(each.line), each.code || "–", each.param || "–", each.message])), errors.length > SHOWN ? h("p", { class: "small" }, `and ${number(errors.length - SHOWN)} more`) : null] : null,
    notes.length ? [h("h3", {}, "To know before you send it"), h("ul", {}, notes.map((each) => h("li", {}, each)))] : null,
    caveats.length ? h("details", {}, h("summary", {}, `What this plan does not know (${number(caveats.length)})`), h("ul", {}, caveats.map((each) => h("li", {}, each)))) : null,
  ];
}

export async function submit(main, { me, signal }) {
  const state = { uploaded: null, name: "", token: null, stop: null };
  const picker = h("input", { type: "file", id: "file", accept: ".jsonl,.ndjson,.json,application/jsonl", class: "hidden-file" });
  const zone = h("label", { for: "file", class: "drop", id: "drop" }, picker, h("span", { class: "strong" }, "Drop a JSONL file here, or choose one"), h("span", { class: "small" }, `One request a line, up to ${bytes(me.max_file_bytes)}. Nothing is sent to a provider before you say so.`));
  const where = target(me);
  const endpoint = h("select", { id: "endpoint" }, ENDPOINTS.map((each) => h("option", { value: each }, each)));
  const title = h("input", { id: "title", maxlength: 512, autocomplete: "off" });
  const window_ = h("select", { id: "window" }, ["24h"].map((each) => h("option", { value: each }, each)));
  const place = h("div", {});
  const body = () => ({ input_file_id: state.uploaded.id, endpoint: endpoint.value, completion_window: window_.value, ...(title.value.trim() ? { metadata: { name: title.value.trim() } } : {}) });

  const replan = async () => {
    if (!state.uploaded) return;
    state.token = token();
    const mine = state.token;
    show(place, card("Plan", h("p", { class: "muted", role: "status" }, "The file is checked and planned…")));
    try {
      const plan = await post("batches/plan", body(), placed(where.value));
      if (mine !== state.token || signal.aborted) return;
      const send = h("button", { type: "button", class: "primary", onclick: create, disabled: plan.would_fail }, plan.request_counts.valid ? `Create the batch of ${plural(plan.request_counts.valid, "line")}` : "Create the batch");
      show(place, card("Plan", planned(plan, h("div", { class: "row" }, send, h("button", { type: "button", onclick: discard }, "Discard the file")))));
      say("The plan is ready.");
    } catch (error) {
      if (mine === state.token && !signal.aborted) show(place, card("Plan", trouble(error), h("p", {}, "Choose another target or endpoint above, or another file.")));
    }
  };
  const create = async (event) => {
    event.currentTarget.disabled = true;
    try {
      const made = await post("batches", body(), { ...placed(where.value), "idempotency-key": state.token });
      state.uploaded = null;
      location.hash = `#/batch/${made.id}`;
    } catch (error) {
      say(error.message, true);
      event.target.disabled = false;
    }
  };
  const discard = async () => {
    await remove(`files/${state.uploaded.id}`).catch((error) => say(error.message, true));
    state.uploaded = null;
    state.token = null;
    picker.value = "";
    show(place);
    picker.focus();
  };
  const take = async (file) => {
    if (!file) return;
    if (state.stop) state.stop.abort();
    state.stop = new AbortController();
    const stop = state.stop;
    const said = await peek(file);
    if (ENDPOINTS.includes(said.url)) endpoint.value = said.url;
    if (!title.value) title.value = file.name.replace(/\.(jsonl|ndjson|json)$/, "");
    const bar = h("progress", { max: 1, value: 0, "aria-label": "Upload" });
    const share = h("span", { class: "small" }, "0 %");
    show(place, card("Upload", h("p", {}, h("span", { class: "strong" }, file.name), " ", h("span", { class: "small" }, bytes(file.size))), h("div", { class: "row" }, bar, share, h("button", { type: "button", onclick: () => stop.abort() }, "Stop"))));
    try {
      state.uploaded = await upload(file, (gone) => ((bar.value = gone), (share.textContent = `${Math.round(gone * 100)} %`)), stop.signal);
    } catch (error) {
      if (!signal.aborted) show(place, trouble(error));
      return;
    }
    await replan();
  };
  picker.addEventListener("change", () => take(picker.files[0]));
  const over = (event) => (event.preventDefault(), zone.classList.add("over"));
  zone.addEventListener("dragover", over);
  zone.addEventListener("dragenter", over);
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    take(event.dataTransfer.files[0]);
  });
  signal.addEventListener("abort", () => state.stop && state.stop.abort());
  const field = (id, label, input) => h("div", { class: "field" }, h("label", { for: id }, label), input);
  where.addEventListener("change", replan);
  endpoint.addEventListener("change", replan);
  window_.addEventListener("change", replan);
  show(
    main,
    h("h1", { tabindex: "-1" }, "New batch"),
    h("div", { class: "card" }, zone, h("div", { class: "filters" }, field("target", "Where the lines go", where), field("endpoint", "Endpoint", endpoint), field("window", "Window", window_), field("title", "Name", title))),
    place,
  );
}

