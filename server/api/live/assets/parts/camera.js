// What is known of one stream, kept up to date by its events.
import { SHOWN_S } from "./strip.js";

const MOST_SEGMENTS = 300;
// A change of the action is news for so long.
const NEWS_S = 60;
// Below this confidence the model does not really see the action.
const SURE = 0.5;

export class Camera {
  // `head`: whose actions to show, "" for those that the stream asked for.
  constructor(state, head = "") {
    this.head = head;
    this.update(state);
    this.pictureUrl = null;
    this.isStill = false;
  }

  update(state) {
    this.state = state;
    this.said = this.of(state);
    this.segments = [...(this.said.recent ?? [])];
  }

  // What the chosen head says in `told`; nothing before its first answer, and where it does not fit.
  of(told) {
    return this.head ? told.heads?.[this.head] ?? { predictions: [], action_since_s: null } : told;
  }

  get top() {
    return this.said.predictions[0] ?? null;
  }

  predicted(told) {
    const { answered_s, age_ms, total_ms, still } = told;
    Object.assign(this.state, { answered_s, age_ms, total_ms });
    this.isStill = Boolean(still); // one of the still windows that are classified as a check
    this.said = this.of(told);
    if (!this.top) return;
    const { label, confidence } = this.top;
    const last = this.segments.at(-1);
    if (last?.label === label) Object.assign(last, { end_s: answered_s, confidence: Math.max(confidence, last.confidence) });
    else this.segments.push({ label, start_s: answered_s, end_s: answered_s, confidence });
    const oldestS = answered_s - SHOWN_S;
    while (this.segments.length > MOST_SEGMENTS || this.segments[0].end_s < oldestS) this.segments.shift();
  }

  skipped({ reason, skipped }) {
    this.state.skipped = skipped;
    this.isStill = reason === "still";
  }

  pictured({ jpeg }) {
    this.forgetPicture();
    const bytes = Uint8Array.from(atob(jpeg), (character) => character.charCodeAt(0));
    this.pictureUrl = URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" }));
  }

  forgetPicture() {
    if (this.pictureUrl) URL.revokeObjectURL(this.pictureUrl);
    this.pictureUrl = null;
  }

  // Higher where more happens: a fresh change of a sure action first, then sure actions, then others, then stillness.
  interest(nowS) {
    if (!this.top) return 0;
    if (this.isStill) return 1;
    const isSure = this.top.confidence >= SURE;
    const fresh = isSure ? Math.max(0, NEWS_S - (nowS - this.said.action_since_s)) : 0;
    return 2 + (isSure ? 1 : 0) + fresh;
  }
}
