/** How many there are of something, as text. */

const grouped = (n: number) => String(n).replace(/\B(?=(\d{3})+$)/g, ",");

export const countOf = (n: number, what: string) => `${grouped(n)} ${what}${n === 1 ? "" : "s"}`;
