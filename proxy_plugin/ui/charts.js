// Charts as SVG, each with the same figures as a table for whoever does not see it.

import { h, number, s, short, table } from "./dom.js";

const WIDE = 640;
const HIGH = 180;
const LEFT = 44;
const FOOT = 22;

const hour = (seconds) => new Date(seconds * 1000).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });

function scale(most) {
  const step = 10 ** Math.floor(Math.log10(Math.max(most, 1)));
  return Math.max(1, [1, 2, 2.5, 5, 10].map((each) => each * step).find((each) => each >= most) || most);
}

function axes(top, hours) {
  const y = (value) => HIGH - FOOT - (value / top) * (HIGH - FOOT - 10);
  const lines = [0, top / 2, top].map((value) => [s("line", { class: "grid", x1: LEFT, x2: WIDE, y1: y(value), y2: y(value) }), s("text", { class: "axis", x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, short(value))]);
  const step = (WIDE - LEFT) / hours.length;
  const marks = hours.map((each, n) => (n % 6 === 0 || n === hours.length - 1 ? s("text", { class: "axis", x: n % 6 ? WIDE : LEFT + step * (n + 0.5), y: HIGH - 5, "text-anchor": n % 6 ? "end" : "middle" }, hour(each.start)) : null));
  return { y, step, drawn: [...lines.flat(), ...marks.filter(Boolean)] };
}

function figure(title, note, drawing, heads, rows) {
  return h("figure", {}, h("figcaption", {}, h("span", { class: "strong" }, title), h("span", { class: "small" }, note)), drawing, h("details", {}, h("summary", {}, "As a table"), table(title, heads, rows)));
}

// Lines that were answered and that failed, by the hour in which their batch ended.
export function throughput(hours) {
  const most = Math.max(...hours.map((each) => each.completed_lines + each.failed_lines));
  const top = scale(most);
  const { y, step, drawn } = axes(top, hours);
  const bars = hours.flatMap((each, n) => {
    const x = LEFT + step * n + step * 0.15;
    const bar = (from, to, kind) => s("rect", { class: kind, x, width: step * 0.7, y: y(to), height: Math.max(0, y(from) - y(to)) });
    const both = each.completed_lines + each.failed_lines;
    return both ? [s("g", {}, s("title", {}, `${hour(each.start)}: ${number(each.completed_lines)} answered, ${number(each.failed_lines)} failed`), bar(0, each.completed_lines, "bar-good"), bar(each.completed_lines, both, "bar-bad"))] : [];
  });
  const total = hours.reduce((sum, each) => sum + each.completed_lines, 0);
  const drawing = s("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": `Lines answered by hour over the last day: ${number(total)} in all, at most ${number(most)} in an hour` }, drawn, bars);
  return figure("Throughput", `${number(total)} lines answered in 24 hours, by the hour in which their batch ended`, drawing, ["Hour", "Answered", "Failed", "Batches ended"], hours.map((each) => [hour(each.start), number(each.completed_lines), number(each.failed_lines), number(each.ended)]));
}

// Batches that had not ended at the end of each hour.
export function queue(hours) {
  const most = Math.max(...hours.map((each) => each.open));
  const { y, step, drawn } = axes(scale(most), hours);
  const points = hours.map((each, n) => [LEFT + step * (n + 0.5), y(each.open)]);
  const path = points.map(([x, up], n) => `${n ? "L" : "M"}${x.toFixed(1)} ${up.toFixed(1)}`).join("");
  const area = `${path}L${points.at(-1)[0].toFixed(1)} ${y(0)}L${points[0][0].toFixed(1)} ${y(0)}Z`;
  const drawing = s("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": `Open batches by hour over the last day: now ${number(hours.at(-1).open)}, at most ${number(most)}` }, drawn, s("path", { class: "area", d: area }), s("path", { class: "line", d: path }));
  return figure("Queue", `${number(hours.at(-1).open)} batches open now`, drawing, ["Hour", "Open at its end", "Created", "Ended"], hours.map((each) => [hour(each.start), number(each.open), number(each.created), number(each.ended)]));
}

// Sums by name, as bars from the left.
export function sums(title, note, entries, told) {
  const shown = entries.filter(([, value]) => value > 0).slice(0, 12);
  if (!shown.length) return h("figure", {}, h("figcaption", {}, h("span", { class: "strong" }, title)), h("p", { class: "muted" }, "Nothing was spent yet."));
  const most = Math.max(...shown.map(([, value]) => value));
  const bar = ([name, value]) =>
    h("div", { class: "sum" }, h("span", {}, name), s("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", class: "bar", "aria-hidden": "true" }, s("rect", { class: "bar-all", width: 100, height: 8 }), s("rect", { class: "bar-blue", width: Math.max(0.5, (100 * value) / most), height: 8 })), h("span", { class: "strong" }, told(value)));
  return h("figure", {}, h("figcaption", {}, h("span", { class: "strong" }, title), h("span", { class: "small" }, note)), shown.map(bar));
}

export function added(rows, name, value) {
  const found = new Map();
  for (const row of rows) found.set(row[name], (found.get(row[name]) || 0) + row[value]);
  return [...found].sort(([, a], [, b]) => b - a);
}
