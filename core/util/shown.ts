/** A value as it was given, cut when it is long. */
export function shown(value: unknown): string {
    if (value === undefined) return "nothing";
    const json = JSON.stringify(value);
    return json === undefined ? String(value) : json.length > 60 ? `${json.slice(0, 57)}...` : json;
}
