// What a head's report says: recall and confusion, calibration, and what another threshold would do.
import { element, setText } from "../parts/dom.js";
import { percent } from "../parts/words.js";

const SVG = "http://www.w3.org/2000/svg";

// `head`: as /api/v1/teaching tells it.
export function headReport({ labels, threshold, report }) {
  const facts = [
    ["Right of clips that were held out", percent(report.accuracy)],
    ["Answered with unknown by mistake", percent(report.misses)],
    ["False alarms", report.false_alarms === null ? "not known without a background" : `${percent(report.false_alarms)} of ${report.background_windows} background windows`],
    ["Confidence differs from truth by", `${percent(report.calibration_error)} (before calibration ${percent(report.calibration_error_before)})`],
  ];
  return element("div", { class: "report" },
    ...report.warnings.map((text) => element("p", { class: "notice error", text })),
    element("dl", {}, ...facts.flatMap(([name, text]) => [element("dt", { text: name }), element("dd", { text })])),
    ...(report.classes.length ? [recall(report)] : []),
    ...(report.confusion.length ? [confusion(labels, report)] : []),
    ...(report.calibration?.length ? [calibration(report.calibration)] : []),
    ...(report.thresholds?.length ? [slider(report.thresholds, threshold)] : []));
}

function table(title, heads, rows) {
  const head = element("tr", {}, ...heads.map((text) => element("th", { scope: "col", text })));
  const body = rows.map(([first, ...cells]) => element("tr", {}, element("th", { scope: "row", text: first }), ...cells));
  return element("div", { class: "wide", tabindex: "0", role: "group", "aria-label": title },
    element("table", {}, element("caption", { text: title }), element("thead", {}, head), element("tbody", {}, ...body)));
}

function recall({ classes }) {
  const cells = ({ videos, recall: share, recall_low: low, recall_high: high }) => [
    element("td", { text: String(videos) }), element("td", { text: `${percent(share)} (${percent(low)} to ${percent(high)})` })];
  return table("How often each action is told", ["Action", "Videos", "Told (95 % interval)"],
    classes.map((one) => [one.label, ...cells(one)]));
}

function confusion(labels, { confusion: counts }) {
  const rows = counts.map((row, index) => {
    const all = row.reduce((sum, count) => sum + count, 0) || 1;
    return [labels[index], ...row.map((count, column) => {
      const cell = element("td", { class: column === index ? "right" : "wrong", text: count ? String(count) : "" });
      cell.style.setProperty("--share", `${Math.round((100 * count) / all)}%`);
      return cell;
    })];
  });
  return table("What was taken for what, in clips", ["It was", ...labels], rows);
}

// Of clips with about this confidence, how many were right: on the line, the head knows how sure it may be.
function calibration(bins) {
  const drawn = document.createElementNS(SVG, "svg");
  drawn.setAttribute("viewBox", "-4 -4 108 108");
  drawn.setAttribute("role", "img");
  drawn.setAttribute("aria-label", bins.map(({ confidence, accuracy, clips }) => (
    `confidence ${percent(confidence)}: ${percent(accuracy)} of ${clips} clips right`)).join("; "));
  const add = (tag, attributes) => {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    drawn.append(made);
  };
  add("rect", { class: "frame", x: 0, y: 0, width: 100, height: 100 });
  add("line", { class: "ideal", x1: 0, y1: 100, x2: 100, y2: 0 });
  const most = Math.max(...bins.map(({ clips }) => clips));
  for (const { confidence, accuracy, clips } of bins) {
    add("circle", { cx: 100 * confidence, cy: 100 - 100 * accuracy, r: 2 + 3 * Math.sqrt(clips / most) });
  }
  return element("figure", { class: "calibration" },
    element("figcaption", { text: "Confidence (right) and how often it is right (up): on the line is best" }), drawn);
}

function slider(points, threshold) {
  const nearest = points.reduce((best, { threshold: each }, index) => (
    Math.abs(each - threshold) < Math.abs(points[best].threshold - threshold) ? index : best), 0);
  const told = element("output", {});
  const input = element("input", { type: "range", min: 0, max: points.length - 1, step: 1, value: nearest, oninput: () => show() });
  const show = () => {
    const { misses, false_alarms: alarms, threshold: value } = points[input.value];
    const alarmed = alarms === null || alarms === undefined ? "false alarms are not known without a background" : `${percent(alarms)} of the background would be taken for an action`;
    const text = `${percent(misses)} of the actions would be answered with unknown; ${alarmed}.`;
    setText(told, `${Number(input.value) === nearest ? "As taught" : `At ${value.toFixed(2)} instead of ${threshold.toFixed(2)}`}: ${text}`);
    input.setAttribute("aria-valuetext", text);
  };
  show();
  return element("div", { class: "threshold" },
    element("label", {}, "When to say unknown: what another threshold would do ", input),
    element("p", { class: "small" }, "more alarms on the left, more misses on the right"), told);
}
