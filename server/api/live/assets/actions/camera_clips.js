// Clips of the camera of this device: shown, recorded, and answered live by a head.
import { Stream } from "../client/stream.js";
import { Bars } from "../parts/bars.js";
import { element, setText } from "../parts/dom.js";
import { Sampler } from "../parts/sampler.js";
import { playCamera } from "../parts/sources.js";

const TYPES = ["video/webm;codecs=vp8", "video/webm", "video/mp4"];
const STRIDE = 4;
const MORE_S = 0.4;

export class CameraClips {
  // `seconds`: how long a clip is.
  constructor(seconds) {
    this.seconds = seconds;
    this.video = element("video", { playsinline: true, "aria-label": "The camera of this device" });
    this.video.muted = true;
    this.bars = new Bars();
    this.told = element("p", { class: "small", role: "status" });
    this.overlay = element("div", { class: "overlay", hidden: true }, this.bars.root);
    this.stopButton = element("button", { type: "button", text: "Stop the camera", onclick: () => this.stop() });
    this.root = element("div", { class: "own-camera", hidden: true },
      element("div", { class: "picture" }, this.video, this.overlay), this.told, this.stopButton);
  }

  // Starts the camera unless it runs. Raises the browser's refusal in words.
  async start() {
    if (this.source) return;
    this.source = await playCamera(this.video);
    this.root.hidden = false;
  }

  // A clip from now on, as a Blob whose type is that of a video.
  async record() {
    await this.start();
    const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type));
    const recorder = new MediaRecorder(this.video.srcObject, { mimeType });
    const pieces = [];
    recorder.ondataavailable = ({ data }) => pieces.push(data);
    const stopped = new Promise((resolve) => (recorder.onstop = resolve));
    recorder.start();
    const endMs = performance.now() + 1000 * (this.seconds + MORE_S);
    for (let leftMs; (leftMs = endMs - performance.now()) > 0;) {
      setText(this.told, `Recording: ${Math.ceil(leftMs / 1000)}`);
      await new Promise((resolve) => setTimeout(resolve, Math.min(leftMs, 250)));
    }
    recorder.stop();
    await stopped;
    setText(this.told, "");
    return new Blob(pieces, { type: mimeType.split(";")[0] });
  }

  // Answers what the camera shows with the labels of `head`.
  async tryLive(head) {
    await this.start();
    this.endLive();
    setText(this.told, `What ${head.replace(/:new$/, "")} says, once enough frames were seen:`);
    this.stream = new Stream({ name: "camera of this device", head, stride: STRIDE }, {
      ready: (ready) => this.sample(ready),
      prediction: ({ predictions }) => {
        this.overlay.hidden = false;
        this.bars.show(predictions);
      },
      error: ({ detail }) => setText(this.told, detail),
      lost: (reason) => setText(this.told, reason),
    });
  }

  sample({ fps, short_edge: shortEdge }) {
    this.sampler?.stop();
    this.sampler = new Sampler(this.video, { fps, shortEdge, isLive: true }, (timeS, _, jpeg) => (
      this.stream.hasRoom && this.stream.send(timeS, jpeg)));
    this.sampler.start();
  }

  endLive() {
    this.sampler?.stop();
    this.stream?.close();
    this.stream = null;
    this.overlay.hidden = true;
  }

  stop() {
    this.endLive();
    this.source?.release();
    this.source = null;
    this.video.srcObject = null;
    this.root.hidden = true;
  }
}
