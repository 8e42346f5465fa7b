/** What a record has under a name that somebody chose: a tenant may be called constructor. */
export const ownProperty = <T>(record: Readonly<Record<string, T>>, name: string): T | undefined =>
    Object.hasOwn(record, name) ? record[name] : undefined;
