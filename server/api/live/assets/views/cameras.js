// Cameras: every open stream of the service, those first in which something happens.
import { Camera } from "../parts/camera.js";
import { element, setText } from "../parts/dom.js";
import { HeadChoice } from "./head_choice.js";
import { watchEvents } from "../client/events.js";
import { Tile } from "../parts/tile.js";
import { LargeCamera } from "./large_camera.js";

const DRAW_EVERY_MS = 1000;
const SORT_EVERY_MS = 3000;

export class CamerasView {
  constructor(root) {
    this.cameras = new Map();
    this.tiles = new Map();
    this.large = new LargeCamera();
    this.heads = new HeadChoice("cameras-head", () => this.restart());
    this.state = element("p", { class: "notice", role: "status", text: "Connecting ..." });
    this.grid = element("div", { class: "grid" });
    root.append(element("h2", { text: "Cameras" }), this.heads.root, this.state, this.grid, this.large.root);
  }

  show() {
    this.heads.refresh();
    this.watch();
    this.timers = [setInterval(() => this.draw(), DRAW_EVERY_MS), setInterval(() => this.sort(), SORT_EVERY_MS)];
  }

  hide() {
    this.stop();
    this.timers.forEach(clearInterval);
  }

  watch() {
    this.watched = this.heads.head;
    const connected = (isConnected, why) => this.connected(isConnected, why);
    this.stopEvents = watchEvents(this.watched, (name, data) => this.happened(name, data), connected);
  }

  stop() {
    this.stopEvents();
    this.large.close();
    for (const session of [...this.cameras.keys()]) this.remove(session);
  }

  // Another head was chosen.
  restart() {
    this.stop();
    this.watch();
  }

  connected(isConnected, why) {
    Object.assign(this, { isConnected, why });
    if (why) this.followHeads();
    this.tell();
  }

  // The head that is watched may have gone.
  async followHeads() {
    await this.heads.refresh();
    if (this.heads.head !== this.watched) this.restart();
  }

  happened(name, data) {
    if (name === "streams") this.replace(data);
    else if (name === "opened") this.add(data.stream);
    else if (name === "closed") this.remove(data.session);
    else this.update(name, this.cameras.get(data.session), data);
  }

  update(name, camera, data) {
    if (!camera) return;
    if (name === "prediction") camera.predicted(data);
    else if (name === "skipped") camera.skipped(data);
    else if (name === "picture") camera.pictured(data);
    else if (name === "refused") camera.state.frames_refused = data.frames_refused;
    else if (name === "gap") camera.state.gaps = data.gaps;
    this.tiles.get(camera).draw(Date.now() / 1000);
    this.large.draw(camera);
  }

  replace({ streams, previews }) {
    this.previews = previews;
    const open = new Set(streams.map(({ session }) => session));
    for (const session of [...this.cameras.keys()]) if (!open.has(session)) this.remove(session);
    for (const state of streams) this.add(state);
    this.sort();
  }

  add(state) {
    const known = this.cameras.get(state.session);
    if (known) {
      known.update(state);
      return;
    }
    const camera = new Camera(state, this.watched);
    const tile = new Tile(camera, (opened) => this.large.open(opened));
    this.cameras.set(state.session, camera);
    this.tiles.set(camera, tile);
    this.grid.append(tile.root);
    tile.draw(Date.now() / 1000);
    this.tell();
  }

  remove(session) {
    const camera = this.cameras.get(session);
    if (!camera) return;
    this.tiles.get(camera).root.remove();
    this.tiles.delete(camera);
    this.cameras.delete(session);
    camera.forgetPicture();
    this.large.ended(camera);
    this.tell();
  }

  draw() {
    const nowS = Date.now() / 1000;
    for (const tile of this.tiles.values()) tile.draw(nowS);
  }

  // Tiles do not move while somebody points at one of them or has reached it with the keyboard.
  sort() {
    if (this.grid.matches(":hover, :focus-within")) return;
    const nowS = Date.now() / 1000;
    const wanted = [...this.cameras.values()].sort((a, b) => b.interest(nowS) - a.interest(nowS));
    wanted.forEach((camera, index) => {
      const tile = this.tiles.get(camera).root;
      if (this.grid.children[index] !== tile) this.grid.insertBefore(tile, this.grid.children[index] ?? null);
    });
  }

  tell() {
    const count = this.cameras.size;
    const text = this.isConnected === false
      ? `The connection to the service was lost. It is tried again. ${this.why ?? ""}`
      : count
        ? `${count} open ${count === 1 ? "stream" : "streams"}, the ones in which something happens first.${this.previews === false ? " The service was told to keep no pictures." : ""}`
        : "No stream is open. Start one in the view Try, or with the consumer: just consume rtsp://camera.local/stream1";
    setText(this.state, text);
    this.state.classList.toggle("error", this.isConnected === false);
  }
}
