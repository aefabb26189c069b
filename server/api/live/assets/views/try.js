// Try: a video, a camera or a rendered motion goes to the service, and its answers are shown over the picture.
import { Bars } from "../parts/bars.js";
import { element, notice, setText } from "../parts/dom.js";
import { asCsv, asJson, asWebVtt, save } from "../parts/keep.js";
import { Sampler } from "../parts/sampler.js";
import { MOTIONS, playCamera, playFile, playMotion } from "../parts/sources.js";
import { Stream } from "../client/stream.js";
import { Timeline } from "../parts/timeline.js";
import { milliseconds } from "../parts/words.js";
import { Controls } from "./try_controls.js";

const MOST_PICTURES = 400;

export class TryView {
  constructor(root) {
    this.controls = new Controls(() => this.restart());
    this.timeline = new Timeline((segment) => this.review(segment));
    this.bars = new Bars();
    this.motion = 0;
    this.source = null;
    this.build(root);
  }

  build(root) {
    this.input = element("input", {
      type: "file", accept: "video/*", hidden: true, id: "file", "aria-label": "Video file",
      onchange: () => this.input.files.length && this.openFile(this.input.files[0]),
    });
    const choose = element("div", { class: "choose" },
      element("button", { type: "button", class: "main", text: "Show me", onclick: () => this.showMe() }),
      element("button", { type: "button", text: "Choose a video", onclick: () => this.input.click() }),
      element("button", { type: "button", text: "Use the camera", onclick: () => this.open(playCamera) }),
      this.stopButton = element("button", { type: "button", text: "Stop", hidden: true, onclick: () => this.stop() }),
      this.input);
    this.video = element("video", { muted: true, playsinline: true, "aria-label": "The video that is classified" });
    this.video.muted = true;
    this.still = element("img", { class: "still", alt: "A frame of the chosen action", hidden: true });
    this.empty = element("div", { class: "empty" },
      element("p", { class: "big", text: "Drop a video here" }),
      element("p", { text: "or press “Show me” to send a rendered motion. Videos stay on this device, but for the frames that the service is to look at." }));
    this.overlay = element("div", { class: "overlay", hidden: true }, this.bars.root);
    this.picture = element("div", { class: "picture" }, this.video, this.still, this.empty, this.overlay);
    this.messages = element("div", { class: "messages" });
    this.announced = element("p", { class: "unseen", "aria-live": "polite" });
    this.facts = this.makeFacts();
    this.downloads = this.makeDownloads();
    root.append(
      element("div", { class: "try" },
        element("div", { class: "stage" }, choose, this.messages, this.picture, this.timeline.root, this.facts.root),
        element("aside", { "aria-label": "Settings" }, this.controls.root, this.downloads)),
      this.announced);
    for (const kind of ["dragover", "drop"]) root.addEventListener(kind, (event) => this.dropped(event, kind));
    root.addEventListener("dragleave", () => this.picture.classList.remove("over"));
    this.video.addEventListener("timeupdate", () => this.moved());
    this.video.addEventListener("ended", () => this.ended());
  }

  makeFacts() {
    const places = {};
    const root = element("dl", { class: "facts" });
    for (const [name, text, title] of [
      ["latency", "Latency", "from the complete window to its answer, in the service"],
      ["age", "Age", "of the newest frame of the window when its answer was ready"],
      ["answers", "Answers", "windows that were classified"],
      ["skipped", "Skipped", "windows that were not classified, and why"],
    ]) {
      places[name] = element("dd", { text: "-" });
      root.append(element("div", { title }, element("dt", { text }), places[name]));
    }
    return { root, ...places };
  }

  makeDownloads() {
    const kinds = [
      ["JSON", () => save("timeline.json", "application/json", asJson(this.name, this.timeline.answers))],
      ["CSV", () => save("timeline.csv", "text/csv", asCsv(this.timeline.answers))],
      ["WebVTT", () => save("timeline.vtt", "text/vtt", asWebVtt(this.timeline.segments, this.timeline.originS ?? 0))],
    ];
    return element("div", { class: "downloads", hidden: true },
      element("h2", { text: "Keep the timeline" }),
      ...kinds.map(([text, onclick]) => element("button", { type: "button", text, onclick })));
  }

  // A video waits while another view is shown; a camera goes on.
  show() {
    this.controls.heads.refresh();
    if (this.waits) this.video.play().catch(() => {});
    this.waits = false;
  }

  hide() {
    this.waits = Boolean(this.source) && !this.source.isLive && !this.video.paused;
    if (this.waits) this.video.pause();
  }

  showMe() {
    const motion = MOTIONS[this.motion];
    this.motion = (this.motion + 1) % MOTIONS.length;
    this.open((video) => playMotion(video, motion));
  }

  openFile(file) {
    this.input.value = "";
    this.open((video) => playFile(video, file));
  }

  dropped(event, kind) {
    event.preventDefault();
    this.picture.classList.toggle("over", kind === "dragover");
    const [file] = kind === "drop" ? event.dataTransfer.files : [];
    if (file) this.openFile(file);
  }

  async open(play) {
    this.stop();
    this.messages.replaceChildren();
    try {
      this.source = await play(this.video);
    } catch (error) {
      this.say(error.message, "error");
      return;
    }
    this.name = this.source.name;
    this.video.onerror = null;
    this.empty.hidden = true;
    this.stopButton.hidden = false;
    if (this.source.expected) this.say(`A rendered motion: ${this.source.expected}. The first answer comes when enough frames were seen.`);
    this.start();
  }

  // Opens a stream; frames are taken as soon as the service has said what it needs.
  start() {
    const { source, timeline } = this;
    timeline.clear();
    timeline.originS = undefined;
    this.pictures = [];
    this.counts = { answers: 0, skipped: new Map() };
    this.showLive();
    this.tellCounts();
    this.downloads.hidden = true;
    const policy = source.isLive ? "latest" : "wait";
    this.stream = new Stream({ name: source.name.slice(0, 128), policy, ...this.controls.hello() }, {
      ready: (ready) => this.ready(ready),
      prediction: (answer) => this.answered(answer),
      skipped: ({ reason }) => this.skipped(reason),
      error: ({ detail }) => this.say(detail, "error"),
      ended: () => this.finish(),
      lost: (reason) => this.lost(reason),
    });
  }

  // Comes once more when another model comes into service; the frames of a video then go on as they are.
  ready(ready) {
    this.controls.offered(ready);
    this.advanceS = ready.stride / ready.fps;
    const { isLive } = this.source;
    if (this.sampler && !this.sampler.isStopped && !isLive) return;
    this.sampler?.stop();
    this.sampler = new Sampler(this.video, { fps: ready.fps, shortEdge: ready.short_edge, isLive }, (timeS, blob, jpeg) => {
      if (isLive && !this.stream.hasRoom) {
        this.skipped("the connection is too slow");
        return;
      }
      this.keepPicture(timeS, blob);
      this.stream.send(timeS, jpeg);
    });
    if (isLive) this.sampler.start();
    else this.playFromStart(this.sampler);
  }

  async playFromStart(sampler) {
    const { video } = this;
    this.timeline.setRange(0, Number.isFinite(video.duration) ? video.duration : 60);
    if (video.currentTime !== 0) {
      const wound = new Promise((resolve) => video.addEventListener("seeked", resolve, { once: true }));
      video.currentTime = 0;
      await wound;
    }
    if (sampler !== this.sampler) return; // another video was chosen meanwhile
    sampler.startWithThisFrame(0);
    video.play().catch(() => this.say("The browser does not play the video by itself. Choose it again.", "error"));
  }

  keepPicture(timeS, blob) {
    this.pictures.push({ timeS, blob });
    if (this.pictures.length > MOST_PICTURES) this.pictures.shift();
  }

  answered(answer) {
    this.counts.answers += 1;
    if (this.source?.isLive && this.timeline.originS === undefined) this.timeline.originS = answer.start_s;
    const picture = this.pictures.findLast(({ timeS }) => timeS <= answer.end_s)?.blob ?? null;
    const before = this.timeline.answers.at(-1)?.predictions[0].label;
    this.timeline.add(answer, this.advanceS, picture);
    if (this.source?.isLive) this.timeline.follow(this.timeline.originS);
    if (!this.isReview) this.showAnswer(answer);
    setText(this.facts.latency, milliseconds(answer.timings_ms.total));
    setText(this.facts.age, milliseconds(answer.age_ms));
    this.tellCounts();
    this.downloads.hidden = false;
    const { label } = answer.predictions[0];
    if (label !== before) setText(this.announced, label);
  }

  showAnswer(answer) {
    this.overlay.hidden = false;
    this.bars.show(answer.predictions);
  }

  skipped(reason) {
    this.counts.skipped.set(reason, (this.counts.skipped.get(reason) ?? 0) + 1);
    this.tellCounts();
  }

  tellCounts() {
    const { answers, skipped } = this.counts;
    setText(this.facts.answers, String(answers));
    setText(this.facts.skipped, [...skipped].map(([reason, count]) => `${count} (${reason})`).join(", ") || "0");
  }

  // A click on an action: a video that was seen to its end is played from there. Before, and for a camera, the picture
  // of that time is shown, because the frames that still come must not be missed.
  review(segment) {
    this.showAnswer(segment.answer);
    if (this.isSeen) {
      this.video.currentTime = segment.startS;
      this.timeline.moveHead(segment.startS);
      this.video.play().catch(() => {});
      return;
    }
    this.isReview = true;
    if (segment.picture) this.showStill(segment.picture);
    this.say("This is the past.");
    const back = element("button", { type: "button", text: "Back to now", onclick: () => this.showLive() });
    this.messages.lastChild.append(" ", back);
  }

  // Whether the whole video was classified, so that it can be played again.
  get isSeen() {
    return Boolean(this.source && !this.source.isLive && this.stream?.isClosed);
  }

  moved() {
    if (!this.source || this.source.isLive) return;
    const timeS = this.video.currentTime;
    this.timeline.moveHead(timeS);
    if (!this.isSeen) return;
    const answer = this.timeline.answers.find(({ end_s }) => end_s > timeS) ?? this.timeline.answers.at(-1);
    if (answer) this.showAnswer(answer);
  }

  showStill(blob) {
    if (this.still.src) URL.revokeObjectURL(this.still.src);
    this.still.src = URL.createObjectURL(blob);
    this.still.hidden = false;
  }

  showLive() {
    if (this.isReview) this.messages.replaceChildren();
    this.isReview = false;
    this.still.hidden = true;
  }

  // The video has come to its end: the last windows are still to be answered.
  ended() {
    if (!this.stream || this.stream.isClosed || this.source?.isLive) return;
    const { sampler, stream } = this;
    sampler?.sent.then(() => stream.end());
  }

  finish() {
    this.sampler?.stop();
    const expected = this.source?.expected;
    const first = this.timeline.segments.toSorted((a, b) => b.confidence - a.confidence)[0];
    if (!first) this.say("The video is shorter than one window, so there is no answer. Use more frames a second.", "error");
    else if (expected) this.say(first.label === expected ? `Right: “${expected}” was rendered, and came first.` : `“${expected}” was rendered, but another action came first.`);
  }

  lost(reason) {
    this.sampler?.stop();
    this.say(reason, "error");
  }

  restart() {
    if (!this.source) return;
    this.sampler?.stop();
    this.stream?.close();
    this.messages.replaceChildren();
    this.start();
  }

  stop() {
    this.sampler?.stop();
    this.stream?.close();
    this.source?.release();
    this.source = null;
    this.stream = null;
    this.video.pause();
    this.video.srcObject = null;
    this.video.removeAttribute("src");
    this.video.load();
    this.empty.hidden = false;
    this.overlay.hidden = true;
    this.stopButton.hidden = true;
  }

  say(text, kind = "info") {
    this.messages.replaceChildren(notice(text, kind));
  }
}
