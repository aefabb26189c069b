// The most probable actions as bars.
import { colourOf } from "./colours.js";
import { element, setText } from "./dom.js";
import { percent } from "./words.js";

export class Bars {
  constructor() {
    this.root = element("ol", { class: "bars", "aria-label": "Most probable actions" });
    this.rows = [];
  }

  show(predictions) {
    while (this.rows.length < predictions.length) this.rows.push(this.row());
    this.rows.forEach((row, index) => {
      const prediction = predictions[index];
      row.root.hidden = !prediction;
      if (!prediction) return;
      setText(row.label, prediction.label);
      setText(row.share, percent(prediction.confidence));
      row.bar.style.width = `${100 * prediction.confidence}%`;
      row.bar.style.backgroundColor = colourOf(prediction.label);
    });
  }

  row() {
    const row = {
      label: element("span", { class: "label" }),
      share: element("span", { class: "share" }),
      bar: element("span", { class: "bar" }),
    };
    row.root = element("li", {}, row.label, row.share, element("span", { class: "track" }, row.bar));
    this.root.append(row.root);
    return row;
  }
}
