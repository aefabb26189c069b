// One camera as large as the window.
import { Bars } from "../parts/bars.js";
import { element, setText } from "../parts/dom.js";
import { Strip } from "../parts/strip.js";
import { factsText, showPicture } from "../parts/tile.js";
import { ago } from "../parts/words.js";

export class LargeCamera {
  constructor() {
    this.camera = null;
    this.name = element("h2", { id: "large-name" });
    this.image = element("img", { alt: "What the camera shows" });
    this.none = element("span", { class: "none", text: "no picture" });
    this.bars = new Bars();
    this.strip = new Strip();
    this.facts = element("p", { class: "small" });
    this.correction = element("div", {});
    this.root = element("dialog", { class: "large", "aria-labelledby": "large-name", onclose: () => (this.camera = null) },
      element("div", { class: "large-head" }, this.name, element("button", { type: "button", text: "Close", onclick: () => this.close() })),
      element("div", { class: "view" }, this.image, this.none),
      this.bars.root, this.correction, this.strip.canvas, this.facts);
    this.root.addEventListener("click", (event) => event.target === this.root && this.close());
  }

  open(camera) {
    this.camera = camera;
    this.root.showModal();
    this.draw(camera);
    this.offerCorrection(camera);
  }

  // Where heads can be taught, a wrong answer becomes an example.
  async offerCorrection(camera) {
    this.correction.replaceChildren();
    if (document.getElementById("nav-actions").hidden) return;
    const { Correction } = await import("../actions/correction.js");
    const correction = await Correction.of(camera.state.session);
    if (camera === this.camera) this.correction.replaceChildren(correction.root);
  }

  draw(camera) {
    if (camera !== this.camera) return;
    const nowS = Date.now() / 1000;
    setText(this.name, camera.state.name);
    showPicture(camera, this.image, this.none);
    this.bars.show(camera.said.predictions);
    this.strip.draw(camera.segments, nowS);
    const { gaps, frames_refused: refused, since_s: sinceS } = camera.state;
    setText(this.facts, `${factsText(camera, nowS)} · open for ${ago(nowS - sinceS)} · gaps: ${gaps} · refused frames: ${refused}`);
  }

  ended(camera) {
    if (camera !== this.camera) return;
    setText(this.facts, "This stream has ended.");
    this.image.hidden = true;
    this.none.hidden = false;
    this.camera = null;
  }

  close() {
    if (this.root.open) this.root.close();
  }
}
