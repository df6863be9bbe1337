// Small builders of page elements, so that no text from outside is ever parsed as markup: everything goes in as text.

const SVG = "http://www.w3.org/2000/svg";

/** An element with a class and children; a child is a node or a text. */
export function element(tag, className = "", ...children) {
  const built = document.createElement(tag);
  if (className) built.className = className;
  built.append(...children.filter((child) => child !== null));
  return built;
}

/** A button that does one thing. */
export function button(className, text, onClick) {
  const built = element("button", className, text);
  built.type = "button";
  built.addEventListener("click", onClick);
  return built;
}

/** Brings the drawings of sprites.svg into the page; not every browser lets a strict page use them from another file. */
export async function loadDrawings() {
  const answer = await fetch("/page/sprites.svg");
  const { documentElement } = new DOMParser().parseFromString(await answer.text(), "image/svg+xml");
  documentElement.setAttribute("class", "spoken");
  documentElement.setAttribute("aria-hidden", "true");
  document.body.prepend(document.adoptNode(documentElement));
}

/** One of these drawings; pictures say nothing that a text beside them does not say. */
export function sprite(name, className = "") {
  const picture = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#draw-${name}`);
  picture.setAttribute("class", `sprite ${className}`.trim());
  picture.setAttribute("aria-hidden", "true");
  picture.append(use);
  return picture;
}
