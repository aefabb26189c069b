// Service: the model, how it runs, the figures of the last hour, and what to change when one is red.
import { advice } from "../parts/advice.js";
import { Chart } from "../parts/chart.js";
import { element, setText } from "../parts/dom.js";
import { getJson } from "../client/service.js";
import { bytes, milliseconds, number, percent } from "../parts/words.js";

const EVERY_MS = 5000;
const MODELS_EVERY_MS = 60000;
const PHASES = ["read_ms", "decode_ms", "queue_ms", "preprocess_ms", "infer_ms"];

export class ServiceView {
  constructor(root) {
    this.error = element("p", { class: "notice error", role: "alert", hidden: true });
    this.models = element("div", { class: "cards" });
    this.figures = element("dl", { class: "figures" });
    this.places = new Map();
    this.modelsUntilMs = 0;
    this.advice = element("ul", { class: "advice" });
    this.adviceTitle = element("h3", { text: "What to change" });
    this.charts = [
      new Chart("Clips a second", [["clips_per_s", "clips/s"], ["refused_per_s", "refused/s"]]),
      new Chart("Phases of a clip, in milliseconds", PHASES.map((name) => [name, name.replace("_ms", "")])),
      new Chart("Batch and queue, in clips", [["batch_clips", "clips in a batch"], ["queue_clips", "clips that wait"]]),
      new Chart("Streams and CPU cores", [["streams", "streams"], ["cpu_cores", "cores in use"]]),
    ];
    root.append(element("h2", { text: "Service" }), this.error, this.models,
      element("h3", { text: "Now" }), this.figures, this.adviceTitle, this.advice,
      element("h3", { text: "The last hour" }),
      element("div", { class: "charts" }, ...this.charts.map((chart) => chart.root)));
  }

  show() {
    this.isShown = true;
    this.refresh();
  }

  hide() {
    this.isShown = false;
    clearTimeout(this.timer);
  }

  async refresh() {
    clearTimeout(this.timer);
    try {
      const told = await getJson("api/v1/service");
      await this.refreshModels(told);
      this.error.hidden = true;
      this.showFigures(told);
      for (const chart of this.charts) chart.show(told);
    } catch (error) {
      this.error.hidden = false;
      setText(this.error, `The figures cannot be read: ${error.message}`);
    }
    if (this.isShown) this.timer = setTimeout(() => this.refresh(), EVERY_MS);
  }

  // The models change rarely.
  async refreshModels({ engines, version }) {
    if (Date.now() < this.modelsUntilMs) return;
    const { models } = await getJson("api/v1/models");
    this.modelsUntilMs = Date.now() + MODELS_EVERY_MS;
    this.models.replaceChildren(...models.map((model) => card(model, engines, version)));
  }

  showFigures(told) {
    const current = Object.fromEntries(told.columns.map((name, index) => [name, told.current[index]]));
    const { limits } = told;
    const found = advice(current, told);
    const isRed = new Set(found.map(({ figure }) => figure));
    for (const [name, title, text] of [
      ["status", "State", told.status],
      ["clips_per_s", "Clips a second", number(current.clips_per_s)],
      ["total_ms", "Total of a clip", milliseconds(current.total_ms)],
      ["slowest_ms", "95 % are answered within", milliseconds(current.slowest_ms)],
      ["batch_clips", "Clips in a batch", number(current.batch_clips)],
      ["queue_clips", "Clips that wait", `${number(current.queue_clips, 0)} of ${limits.queue_size}`],
      ["inflight_bytes", "Held by requests", `${bytes(current.inflight_bytes)} of ${bytes(limits.max_inflight_bytes)}`],
      ["streams", "Open streams", `${number(current.streams, 0)} of ${limits.max_streams}`],
      ["refused_per_s", "Refused a second", number(current.refused_per_s)],
      ["cpu_cores", "CPU cores in use", number(current.cpu_cores, 2)],
      ["memory_bytes", "Memory of the process", bytes(current.memory_bytes)],
    ]) {
      this.showFigure(name, title, text, isRed.has(name));
    }
    this.adviceTitle.hidden = false;
    this.advice.replaceChildren(...(found.length
      ? found.map(({ text }) => element("li", { class: "red", text }))
      : [element("li", { text: "No figure is red." })]));
  }

  showFigure(name, title, text, isRed) {
    if (!this.places.has(name)) {
      const place = element("dd", {});
      const root = element("div", {}, element("dt", { text: title }), place);
      this.places.set(name, { root, place });
      this.figures.append(root);
    }
    const { root, place } = this.places.get(name);
    setText(place, text);
    root.classList.toggle("red", isRed);
  }
}

function card(model, engines, version) {
  const found = model.verification;
  const agreement = found && (model.labels.length
    ? `the same action first in ${percent(found.top1_agreement)}, probabilities at most ${found.max_abs_probability_error.toPrecision(2)} apart (allowed: ${found.tolerance})`
    : `features at most ${found.features_error.toPrecision(2)} apart`);
  const verified = found
    ? `on ${found.device}, ${found.clips} comparisons: ${agreement}`
    : "not verified: run “just export verify” with this bundle";
  const rows = [
    ["Bundle", model.bundle],
    ["Runs on", `${model.device}, ${model.target}, ${model.precision}, ${engines} ${engines === 1 ? "engine" : "engines"}`],
    ["Answers verified", verified],
    ["Input", `${model.frames} frames of ${model.crop} x ${model.crop} pixels, batches of up to ${model.max_batch}`],
    ["Actions", `${model.labels.length}${model.random_weights ? ", with random weights: the answers mean nothing" : ""}`],
    ["Built", `${model.built_at.slice(0, 10)}, served by version ${version}`],
  ];
  return element("div", { class: "card" }, element("h3", { text: model.name }),
    element("dl", {}, ...rows.flatMap(([name, text]) => [element("dt", { text: name }), element("dd", { text })])));
}
