// The public road. Every five seconds the server publishes the next link of the day's chain, and the hazards that all
// players see are drawn from it. This feed follows along, counts down to the next epoch, and draws each road once more
// on its own to see that the server did not choose it: the hazards must follow from the link, and the link's hash must
// be the link before it. It rests while the page is hidden.

import { LostAnswer, Problem, call } from "./api.js";
import { EPOCH_MS, placeOfEpoch, visibleHazards } from "./verify.js";
import { sha256Text } from "./hash.js";

const REPEAT_AFTER_MS = 400;
const RETRY_AFTER_FAILURE_MS = 2_000;
const TICK_MS = 250;
// A Date header has whole seconds, so only a larger difference says that this device's clock is wrong.
const CLOCK_TOLERANCE_MS = 2_500;

export class HazardFeed {
  #difficulty = null;
  #lanes = 0;
  #record = null;
  #clockErrorMs = 0;
  #timer = 0;
  #onRoad;
  #onCountdown;

  /** `onRoad(record | null, isProven)` on every change, `onCountdown(remainingMs)` a few times a second. */
  constructor(onRoad, onCountdown) {
    this.#onRoad = onRoad;
    this.#onCountdown = onCountdown;
    setInterval(() => { if (this.#record) this.#onCountdown(this.#remainingMs()); }, TICK_MS);
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.#refresh(); });
  }

  /** Follows the road of one difficulty. */
  follow(difficulty, lanes) {
    if (difficulty === this.#difficulty) return;
    this.#difficulty = difficulty;
    this.#lanes = lanes;
    this.#record = null;
    this.#refresh();
  }

  /** The record for a bet on `difficulty`: the one on screen, unless its time is over. */
  async current(difficulty) {
    const isFresh = this.#record?.difficulty === difficulty && this.#remainingMs() > -EPOCH_MS / 2;
    return isFresh ? this.#record : call("GET", `/api/hazards/${difficulty}`);
  }

  async #refresh() {
    clearTimeout(this.#timer);
    if (document.hidden || !this.#difficulty) return;
    const difficulty = this.#difficulty;
    let nextInMs = RETRY_AFTER_FAILURE_MS;
    try {
      const record = await call("GET", `/api/hazards/${difficulty}`, { patienceMs: 0, onDate: (date) => this.#setClock(date) });
      if (difficulty !== this.#difficulty) return;
      nextInMs = this.#accept(record);
    } catch (failure) {
      if (!(failure instanceof Problem || failure instanceof LostAnswer)) throw failure;
      this.#record = null;
      this.#onRoad(null, false);
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#refresh(), nextInMs);
  }

  #accept(record) {
    const isNew = record.epoch !== this.#record?.epoch;
    this.#record = record;
    if (isNew) this.#onRoad(record, this.#isProven(record));
    const remainingMs = this.#remainingMs();
    return remainingMs > 0 ? Math.min(remainingMs, EPOCH_MS) + 60 : REPEAT_AFTER_MS;
  }

  // At midnight a new chain begins, and its first link does not lead to yesterday's last.
  #isProven(record) {
    const drawn = visibleHazards(record.hazardSeed, record.difficulty, this.#lanes, record.hazards.length);
    const follows = placeOfEpoch(record.epoch).indexInDay === 0 || sha256Text(record.hazardSeed) === record.previousHazardSeed;
    return follows && drawn.join() === record.hazards.join();
  }

  #setClock(serverTime) {
    const errorMs = Date.now() - serverTime;
    this.#clockErrorMs = Math.abs(errorMs) > CLOCK_TOLERANCE_MS ? errorMs - 500 : 0;
  }

  #remainingMs() {
    return (this.#record.epoch + 1) * EPOCH_MS - (Date.now() - this.#clockErrorMs);
  }
}
