/** A cause below its error. */

export const indented = (error: unknown) => `  ${(error as Error).message.replaceAll("\n", "\n  ")}`;
