// Actions: heads are taught from examples, tried, kept or thrown away, and those in service show their reports.
import { getJson } from "../client/service.js";
import * as teaching from "../client/teaching.js";
import { CameraClips } from "../actions/camera_clips.js";
import { element, notice, setText } from "../parts/dom.js";
import { headReport } from "../actions/head_report.js";
import { SourceChoice } from "../actions/source_choice.js";
import { ActionCard } from "../actions/action_card.js";

const IDLE_MS = 4000;
const BUSY_MS = 500;
// Teaching begins so long after the last change of an example.
const SETTLED_MS = 1500;
const FEWEST = 2;
const FPS = 3;
const STYLE = new URL("../actions/actions.css", import.meta.url);

export class ActionsView {
  constructor(root) {
    document.head.append(element("link", { rel: "stylesheet", href: STYLE.href }));
    this.cards = new Map();
    this.head = "";
    this.messages = element("div", { class: "messages" });
    this.missing = element("p", { class: "notice error", hidden: true });
    this.choice = element("select", { id: "taught-head", onchange: () => this.choose(this.choice.value) });
    this.source = new SourceChoice();
    this.isAutomatic = element("input", { type: "checkbox", id: "teach-at-once", checked: true });
    this.grid = element("div", { class: "grid actions" });
    this.progress = element("p", { class: "notice", role: "status" });
    this.result = element("div", { class: "result" });
    this.served = element("div", { class: "cards" });
    root.append(element("h2", { text: "Actions" }),
      element("p", { class: "notice", text: "Name your own actions, show a few examples of each, and see at once how well they can be told apart. Examples of what is none of them go into “background”." }),
      this.missing, this.messages, this.makeChoice(), this.grid, this.makeNewAction(), this.makeTeaching(),
      this.progress, this.result, element("h3", { text: "Heads in service" }), this.served);
  }

  makeChoice() {
    this.newHead = element("input", { id: "new-head", pattern: "[A-Za-z0-9_][A-Za-z0-9._\\-]{0,63}", required: true, title: "letters, digits, '.', '_' and '-'" });
    const form = element("form", { class: "row", onsubmit: (event) => this.nameHead(event) },
      element("label", { for: "new-head", text: "New head" }), this.newHead, element("button", { type: "submit", text: "Begin" }));
    this.choiceRow = element("div", { class: "row", hidden: true },
      element("label", { for: "taught-head", text: "Teach" }), this.choice);
    return element("div", { class: "rows" }, this.choiceRow, form);
  }

  makeNewAction() {
    this.newAction = element("input", { id: "new-action", required: true, maxlength: 64, list: "usual-actions" });
    const form = element("form", { class: "row", onsubmit: (event) => this.nameAction(event) },
      element("label", { for: "new-action", text: "New action" }), this.newAction,
      element("datalist", { id: "usual-actions" }, element("option", { value: "background" })),
      element("button", { type: "submit", text: "Add" }));
    this.clipsPlace = element("div", {});
    this.own = element("div", { class: "rows", hidden: true }, form, this.source.root, this.clipsPlace);
    return this.own;
  }

  makeTeaching() {
    this.teachButton = element("button", { type: "button", class: "main", text: "Teach", onclick: () => this.teach() });
    this.teachRow = element("div", { class: "row", hidden: true }, this.teachButton,
      element("label", { for: "teach-at-once" }, this.isAutomatic, " Teach again after each change"));
    return this.teachRow;
  }

  async show() {
    this.isShown = true;
    await this.prepare();
    this.refresh();
  }

  hide() {
    this.isShown = false;
    clearTimeout(this.timer);
    clearTimeout(this.settling);
    this.clips?.stop();
  }

  // How long a clip is depends on the model.
  async prepare() {
    if (this.clips) return;
    const { models: [model] } = await getJson("api/v1/models").catch(() => ({ models: [] }));
    this.clips = new CameraClips((model?.frames ?? 16) / FPS);
    this.clipsPlace.append(this.clips.root);
  }

  async refresh() {
    clearTimeout(this.timer);
    try {
      const [told, { streams }] = await Promise.all([teaching.overview(), getJson("api/v1/streams")]);
      this.source.show(streams);
      this.draw(told);
    } catch (error) {
      this.say(error);
    }
    if (this.isShown) this.timer = setTimeout(() => this.refresh(), this.busy ? BUSY_MS : IDLE_MS);
  }

  draw({ missing, teaching: all, heads }) {
    this.missing.hidden = !missing;
    setText(this.missing, missing ?? "");
    this.teachButton.disabled = Boolean(missing);
    if (!this.head && all.length) this.head = all[0].name;
    const names = [...new Set([...all.map(({ name }) => name), ...(this.head ? [this.head] : [])])].sort();
    this.choiceRow.hidden = !names.length;
    if ([...this.choice.options].map(({ value }) => value).join() !== names.join()) {
      this.choice.replaceChildren(...names.map((name) => element("option", { value: name, text: name })));
    }
    this.choice.value = this.head;
    this.own.hidden = this.teachRow.hidden = !this.head;
    this.lesson = all.find(({ name }) => name === this.head) ?? { name: this.head, actions: [], is_taught: false };
    this.busy = all.some(({ is_taught: isTaught }) => isTaught);
    this.drawCards();
    this.drawProgress();
    this.drawDraft();
    this.drawServed(heads);
  }

  drawCards() {
    const { actions } = this.lesson;
    for (const { name } of actions) if (!this.cards.has(name)) this.addCard(name);
    const found = new Map(actions.map(({ name, examples }) => [name, examples]));
    for (const [name, card] of this.cards) card.draw(found.get(name) ?? []);
  }

  addCard(name) {
    const card = new ActionCard(name, {
      record: () => this.record(name),
      add: (files) => this.add(name, files),
      remove: (example) => this.change(() => teaching.removeExample(this.head, name, example)),
    });
    this.cards.set(name, card);
    this.grid.append(card.root);
  }

  drawProgress() {
    const { is_taught: isTaught, progress, error } = this.lesson;
    const step = progress && { videos: "Looking at the videos", folds: "Comparing them" }[progress.step];
    const text = isTaught ? (step ? `${step}: ${progress.done} of ${progress.of}` : "Teaching begins ...") : error ?? "";
    setText(this.progress, text);
    this.progress.classList.toggle("error", Boolean(error) && !isTaught);
    this.progress.hidden = !text;
  }

  drawDraft() {
    const { draft } = this.lesson;
    const shown = draft ? `${draft.name} ${draft.taught_at}` : "";
    if (this.result.dataset.shown === shown) return;
    this.result.dataset.shown = shown;
    this.clips?.endLive();
    this.result.replaceChildren(...(draft ? [this.draftCard(draft)] : []));
  }

  draftCard(draft) {
    const button = (text, onclick, kind = "") => element("button", { type: "button", class: kind, text, onclick });
    return element("section", { class: "card", "aria-label": "What was taught" },
      element("h3", { text: `${this.head}, as it was taught now` }), headReport(draft),
      element("div", { class: "row" },
        button("Try it live", () => this.attempt(() => this.clips.tryLive(draft.name))),
        button("Keep it", () => this.change(() => teaching.keep(this.head), true), "main"),
        button("Throw it away", () => this.change(() => teaching.discard(this.head), true))));
  }

  drawServed(heads) {
    const shown = heads.map(({ name, taught_at: at }) => `${name} ${at}`).join("|");
    if (this.served.dataset.shown === shown) return;
    this.served.dataset.shown = shown;
    this.served.replaceChildren(...(heads.length
      ? heads.map((head) => element("details", { class: "card" },
        element("summary", { text: `${head.name}: ${percentOf(head)}` }), headReport(head)))
      : [element("p", { class: "notice", text: "No head is served for this model." })]));
  }

  nameHead(event) {
    event.preventDefault();
    this.choose(this.newHead.value);
    this.newHead.value = "";
  }

  choose(name) {
    this.head = name;
    for (const card of this.cards.values()) card.root.remove();
    this.cards.clear();
    this.refresh();
  }

  nameAction(event) {
    event.preventDefault();
    const name = this.newAction.value.trim();
    if (name && !this.cards.has(name)) this.addCard(name);
    this.newAction.value = "";
  }

  // From the camera of this device, or what another camera has just shown.
  record(action) {
    const { head, source: { session } } = this;
    return this.change(async () => (session
      ? teaching.addFromStream(head, action, session)
      : teaching.addVideo(head, action, await this.clips.record())));
  }

  async add(action, files) {
    const { head } = this;
    for (const file of files) await this.change(() => teaching.addVideo(head, action, file));
  }

  // Anything that changes what is taught; examples lead to teaching again.
  async change(work, isDecision = false) {
    if (!(await this.attempt(work))) return;
    if (!isDecision) this.changed();
    await this.refresh();
  }

  async attempt(work) {
    this.messages.replaceChildren();
    try {
      await work();
      return true;
    } catch (error) {
      this.say(error);
      return false;
    }
  }

  changed() {
    clearTimeout(this.settling);
    if (this.isAutomatic.checked) this.settling = setTimeout(() => this.teachWhenReady(), SETTLED_MS);
  }

  teachWhenReady() {
    const counts = this.lesson.actions.map(({ examples }) => examples.length);
    if (this.busy) this.changed();
    else if (counts.length >= FEWEST && Math.min(...counts) >= FEWEST && !this.teachButton.disabled) this.teach();
  }

  async teach() {
    await this.attempt(() => teaching.teach(this.head));
    this.refresh();
  }

  say({ message }) {
    this.messages.replaceChildren(notice(message, "error"));
  }
}

function percentOf({ labels, report }) {
  return `${labels.length - 1} actions, ${Math.round(100 * report.accuracy)} % of held-out clips right`;
}
