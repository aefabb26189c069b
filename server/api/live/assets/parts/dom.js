// Makes elements. Text is always text: nothing on this page is ever parsed as HTML.

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean") made.toggleAttribute(name, value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// Sets the text only where it changed, so that screen readers and layouts are left alone.
export function setText(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

export function notice(text, kind = "info") {
  return element("p", { class: `notice ${kind}`, role: kind === "error" ? "alert" : "status", text });
}
