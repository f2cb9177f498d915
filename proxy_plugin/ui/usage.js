// What the caller's workspace did in the last day, and what it spent.

import { again, get } from "./api.js";
import { added, queue, sums, throughput } from "./charts.js";
import { dollars, h, number, show, table } from "./dom.js";

export async function usage(main, { me, signal }) {
  const place = h("div", {});
  const draw = async () => {
    const found = await get("workspace/figures", {}, signal);
    const rows = found.spend.map((each) => [each.virtual_key, number(each.lines), number(each.input_tokens), number(each.output_tokens), [dollars(each.cost), each.cost_unknown_lines ? h("span", { class: "small" }, `without ${number(each.cost_unknown_lines)} lines`) : null]]);
    show(place, h("div", { class: "columns" }, h("div", { class: "card" }, throughput(found.hours)), h("div", { class: "card" }, queue(found.hours))), h("div", { class: "card" }, sums("Spend by account", "of all batches that have ended", added(found.spend, "virtual_key", "cost"), dollars), table("Spend by account", ["Account", "Lines", "Input tokens", "Output tokens", "Cost"], rows)));
  };
  await draw();
  show(main, h("h1", { tabindex: "-1" }, "Usage"), h("p", { class: "small" }, `Workspace ${me.name}`), place);
  again(() => draw().catch(() => {}), 20000, signal);
}
