/** Names in a text for a person. */

/** The first of them, and how many more there are. @param most @default 5 */
export const joinNames = (names: readonly string[], most = 5) =>
    names.length > most ? `${names.slice(0, most).join(", ")} and ${names.length - most} more` : names.join(", ");
