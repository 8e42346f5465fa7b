/** Values and names as SQL has them, for statements that take no parameters. */

/** Text as an SQL literal. */
export const literal = (text: string) =>
    text.includes("\\")
        ? `E'${text.replaceAll("\\", "\\\\").replaceAll("'", "''")}'`
        : `'${text.replaceAll("'", "''")}'`;

/** A name as an SQL identifier, always quoted. */
export const identifier = (name: string) => `"${name.replaceAll('"', '""')}"`;

/** `public.users` or `users` as a quoted name with its schema. */
export function qualified(table: string): string {
    const [schema, name] = table.includes(".") ? table.split(".", 2) : ["public", table];
    return `${identifier(schema ?? "public")}.${identifier(name ?? "")}`;
}
