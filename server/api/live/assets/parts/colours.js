// Each action has its own colour, the same in every view and at every visit.

const known = new Map();
const MOST_KNOWN = 2000;

export function colourOf(label) {
  if (!known.has(label)) {
    if (known.size >= MOST_KNOWN) known.clear();
    let hash = 2166136261;
    for (let index = 0; index < label.length; index += 1) {
      hash = Math.imul(hash ^ label.charCodeAt(index), 16777619) >>> 0;
    }
    // Multiples of the golden angle are far apart, so that actions with similar names differ.
    const hue = (hash * 137.508) % 360;
    known.set(label, `hsl(${hue.toFixed(0)} ${55 + (hash % 3) * 12}% ${48 + ((hash >>> 4) % 3) * 6}%)`);
  }
  return known.get(label);
}
