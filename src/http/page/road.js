// The road: lanes from left to right, each with its coefficient, a character that crosses them, and the cars of the
// current hazard epoch. It draws what it is told and decides nothing. Cars drive only in lanes still ahead, because a
// lane that was crossed is closed behind the character; the one car that matters is the one that hits.

import { element, sprite } from "./elements.js";

const CAR_COLOURS = 5;
const START = -1;
const PHONE_WIDTH = 620;

export class Road {
  #viewport;
  #lanes = [];
  #character;
  #position = START;
  #maxLane = START;
  #isPlaying = false;
  #onNext;

  /** `viewport` is the scrolling element; `onNext` is called when the player taps the next lane. */
  constructor(viewport, onNext) {
    this.#viewport = viewport;
    this.#onNext = onNext;
    this.#character = element("div", "character", sprite("burst", "character-burst"), sprite("chicken", "character-body"));
    new ResizeObserver(() => this.#follow("instant")).observe(viewport);
  }

  /** Lays out a road; lanes beyond `maxLane` cannot be reached with this stake. */
  draw(coefficients, maxLane) {
    const sameLanes = this.#lanes.length === coefficients.length
      && this.#lanes.every((lane, index) => lane.dataset.coefficient === coefficients[index]);
    this.#maxLane = maxLane;
    if (!sameLanes) this.#build(coefficients);
    this.#refresh();
    if (!sameLanes) this.#follow("instant");
  }

  #build(coefficients) {
    this.#lanes = coefficients.map((coefficient, index) => this.#lane(coefficient, index));
    const lanes = element("ol", "lanes", this.#kerb("start", "Start"), ...this.#lanes, this.#kerb("finish", "Finish"));
    this.#viewport.replaceChildren(element("div", "world", lanes, this.#character));
  }

  #kerb(side, label) {
    return element("li", `kerb kerb-${side}`, element("span", "kerb-label", label));
  }

  #lane(coefficient, index) {
    const car = element("div", `car car-${index % CAR_COLOURS} pace-${index % 4}`, sprite("car"));
    const badge = element("span", `badge ${sizeOf(coefficient)}`, `${coefficient}×`);
    const signs = [sprite("warning", "lane-warning"), sprite("barrier", "lane-barrier")];
    const lane = element("li", "lane", car, ...signs, badge, element("span", "lane-number", String(index + 1)));
    lane.dataset.coefficient = coefficient;
    lane.addEventListener("click", () => {
      if (this.#isPlaying && index === this.#position + 1) this.#onNext();
    });
    return lane;
  }

  /** Shows this epoch's public hazards. */
  showHazards(columns) {
    const shown = new Set(columns);
    this.#lanes.forEach((lane, index) => lane.classList.toggle("has-car", shown.has(index)));
  }

  /** A round begins, or is resumed, at `lane`. */
  begin(lane) {
    this.clear();
    this.#isPlaying = true;
    this.#position = lane;
    this.#refresh();
    if (this.#viewport.getBoundingClientRect().top < 0) this.#viewport.parentElement.parentElement.scrollIntoView();
    this.#follow("smooth");
  }

  /** The character hops to a lane. */
  hop(lane) {
    this.#position = lane;
    this.#character.classList.remove("is-hopping");
    void this.#character.offsetWidth; // restarts the hop when lanes are crossed quickly
    this.#character.classList.add("is-hopping");
    this.#refresh();
    this.#follow("smooth");
  }

  /** The round is over: "safe" on the lane where the character stands, "hit" there, or "void". */
  end(outcome) {
    this.#isPlaying = false;
    this.#character.classList.add(`is-${outcome}`);
    this.#lanes[this.#position]?.classList.add(`ended-${outcome}`);
    this.#refresh();
  }

  /** Marks where hazards waited, once the seeds are revealed. */
  reveal(columns) {
    const hazards = new Set(columns);
    this.#lanes.forEach((lane, index) => lane.classList.toggle("was-hazard", hazards.has(index)));
  }

  /** Waiting for an answer about the next lane. */
  set isWaiting(waiting) {
    this.#viewport.classList.toggle("is-waiting", waiting);
  }

  /** Back to the start, with nothing marked. */
  clear() {
    this.#isPlaying = false;
    this.#position = START;
    this.#character.classList.remove("is-hopping", "is-safe", "is-hit", "is-void");
    for (const lane of this.#lanes) lane.classList.remove("ended-safe", "ended-hit", "ended-void", "was-hazard");
    this.#refresh();
  }

  #refresh() {
    this.#character.style.setProperty("--position", String(this.#position));
    this.#character.classList.toggle("is-at-start", this.#position === START);
    this.#lanes.forEach((lane, index) => {
      lane.classList.toggle("is-passed", index < this.#position);
      lane.classList.toggle("is-current", index === this.#position);
      lane.classList.toggle("is-next", this.#isPlaying && index === this.#position + 1);
      lane.classList.toggle("is-goal", index === this.#maxLane);
      lane.classList.toggle("is-beyond", index > this.#maxLane);
    });
  }

  // The camera keeps the character on the left, so that what comes next is in sight; on a phone, further left still.
  #follow(pace) {
    const lane = this.#lanes[Math.max(this.#position, 0)];
    if (!lane) return;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const width = this.#viewport.clientWidth;
    const left = this.#position === START ? 0 : lane.offsetLeft - width * (width < PHONE_WIDTH ? 0.1 : 0.3);
    this.#viewport.scrollTo({ left, behavior: calm ? "instant" : pace });
  }
}

// Long coefficients are set smaller, so that they fit on their cover.
function sizeOf(coefficient) {
  if (coefficient.length > 8) return "is-longest";
  if (coefficient.length > 7) return "is-long";
  return coefficient.length > 5 ? "is-medium" : "is-short";
}
