// The part of a proof that is about a bet's record as a whole: its status is the one of its end, and its settlement the one of its
// status. It is the record's own word, and contradicts itself or does not.

const PAID = ["win", "cashout", "deadline"];
const UNPLAYED = { PENDING: [], PLACED: [] };
const UNDER_WAY = { PENDING_SETTLEMENT: [...PAID, "hazard"], PENDING_VOID: ["void"], PENDING_CANCEL: ["cancelled"] };
const FINAL = { WON: PAID, LOST: ["hazard"], VOIDED: ["void"], CANCELLED: ["cancelled"], REJECTED: ["refused"] };
const ENDS = new Map(Object.entries({ ...UNPLAYED, ...UNDER_WAY, ...FINAL }));

/** What a record may say of its status and of its settlement. */
export const STATUSES = new Set(ENDS.keys());
export const SETTLEMENTS = new Set(["pending", "settled"]);

/** Checks status, settlement and settledAt of a record; flat claims have none of them. */
export function checkRecord({ record, endReason }, add, miss) {
  if (record === null) return;
  const { status } = record;
  checkStatus(status, endReason, add, miss);
  checkSettlement(record, add, miss);
}

function checkStatus(status, endReason, add, miss) {
  const name = "status_follows_from_end";
  if (status === null) return;
  if (endReason === null) return void miss(name, "the claim has no endReason");
  add(name, ENDS.get(status).includes(endReason), `status ${status}, end "${endReason}"`);
}

function checkSettlement({ status, settlement, settledAt }, add, miss) {
  const name = "settlement_follows_from_status";
  if (settlement === null && settledAt === null) return;
  if (status === null) return void miss(name, "the claim has no status");
  const due = Object.hasOwn(FINAL, status) ? "settled" : Object.hasOwn(UNDER_WAY, status) ? "pending" : null;
  const isRight = (settlement === null || settlement === due) && (settledAt === null || due === "settled");
  add(name, isRight, `status ${status}, settlement ${settlement ?? "not told"}, settled at ${settledAt ?? "no time"}`);
}
