// A chart of the last hour, drawn by uPlot, which is loaded when the first chart is shown.
import { element } from "./dom.js";

const HEIGHT = 180;
const COLOURS = ["--line-1", "--line-2", "--line-3", "--line-4", "--line-5"];
// The distances of the marks on the axis of time, in seconds.
const MINUTES = [60, 120, 300, 600, 900, 1800];
const VENDOR = new URL("../vendor/", import.meta.url);
let loading = null;

function hourAndMinute(timeS) {
  return new Date(timeS * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
}

function loadUplot() {
  loading ??= new Promise((resolve, reject) => {
    const style = element("link", { rel: "stylesheet", href: new URL("uplot.css", VENDOR).href });
    const script = element("script", { src: new URL("uplot.js", VENDOR).href });
    script.onload = () => resolve(globalThis.uPlot);
    script.onerror = () => reject(new Error("the charts were not loaded; load the page again"));
    document.head.append(style, script);
  });
  return loading;
}

export class Chart {
  // `series`: the name of a column and its text, for each line.
  constructor(title, series) {
    this.series = series;
    this.place = element("div", { class: "plot" });
    this.summary = element("p", { class: "unseen" });
    this.root = element("figure", { class: "chart" }, element("figcaption", { text: title }), this.place, this.summary);
    addEventListener("theme", () => this.rebuild());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.rebuild());
    new ResizeObserver(() => this.plot?.setSize({ width: this.place.clientWidth, height: HEIGHT })).observe(this.place);
  }

  async show({ columns, rows, current }) {
    const all = rows.length ? rows : [current];
    this.data = ["time_s", ...this.series.map(([name]) => name)]
      .map((name) => all.map((row) => row[columns.indexOf(name)]));
    this.summary.textContent = this.series
      .map(([, text], index) => `${text}: now ${this.data[index + 1].at(-1) ?? "nothing measured"}`).join("; ");
    const UPlot = await loadUplot();
    if (this.plot) this.plot.setData(this.data);
    else this.build(UPlot);
  }

  build(UPlot) {
    const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const axis = { stroke: colour("--faint"), grid: { stroke: colour("--edge"), width: 1 }, ticks: { stroke: colour("--edge"), width: 1 } };
    const lines = this.series.map(([, label], index) => (
      { label, stroke: colour(COLOURS[index]), width: 2, spanGaps: false, points: { show: this.data[0].length < 30 } }));
    const options = {
      width: this.place.clientWidth || 300,
      height: HEIGHT,
      series: [{ value: (_, timeS) => (timeS === null ? "-" : new Date(timeS * 1000).toLocaleTimeString()) }, ...lines],
      axes: [{ ...axis, incrs: MINUTES, space: 60, values: (_, ticks) => ticks.map(hourAndMinute) }, { ...axis, size: 48 }],
      scales: { y: { range: (_, low, high) => [Math.min(0, low ?? 0), Math.max(high ?? 0, 1) * 1.1] } },
      cursor: { drag: { x: false, y: false } },
    };
    this.plot = new UPlot(options, this.data, this.place);
  }

  async rebuild() {
    if (!this.plot) return;
    this.plot.destroy();
    this.build(await loadUplot());
  }
}
