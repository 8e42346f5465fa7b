/** One provider for every type: a question of the engine goes to the kind that its URN names. */
import type * as pulumi from "@pulumi/pulumi";
import type { AnyKind, Ask } from "./kind.ts";
import { typeMistakes } from "./mistakes.ts";
import type { Row } from "./row.ts";
import { closed, closedByKind, holdsSecret, opened } from "./secrets.ts";

type Values = Record<string, unknown>;

/** `urn:pulumi:stack::project::parent$type::name` */
const typeOf = (urn: string) => urn.split("::")[2]?.split("$").at(-1) ?? "";

/** What it is made with, beside its kinds. */
export interface Around {
    readonly version: string;
    readonly schema: string;
    /** The row that a resource's words go to. */
    readonly row: (urn: string) => Row;
}

export class CitusProvider implements pulumi.provider.Provider {
    readonly version: string;
    readonly schema: string;
    private readonly kinds: ReadonlyMap<string, AnyKind>;
    private readonly row: Around["row"];

    constructor(kinds: readonly AnyKind[], { version, schema, row }: Around) {
        this.version = version;
        this.schema = schema;
        this.row = row;
        this.kinds = new Map(kinds.map((kind) => [kind.type, kind]));
    }

    check(urn: string, olds: Values, news: Values) {
        return this.ask(urn, async (kind, ask) => {
            const plain = opened(news);
            const mistakes = typeMistakes(kind.inputs, plain, (property) => holdsSecret(news[property]));
            if (mistakes.length > 0 || !kind.check) return { inputs: news, failures: mistakes };
            const { inputs, failures = [] } = await kind.check(ask, opened(olds), plain);
            return { inputs: closed(inputs, news), failures: [...failures] };
        });
    }

    diff(id: string, urn: string, olds: Values, news: Values) {
        return this.ask(urn, (kind, ask) => kind.diff(ask, id, opened(olds), opened(news)));
    }

    create(urn: string, inputs: Values) {
        return this.ask(urn, async (kind, ask) => {
            const { id, outs } = await kind.create(ask, opened(inputs));
            return { id, outs: closed(outs, inputs) };
        });
    }

    /** A refresh has what the state knows, an import has the id alone. */
    read(id: string, urn: string, props: Values) {
        return this.ask(urn, async (kind, ask) => {
            if (Object.keys(props).length > 0)
                return { id, props: kind.read ? closed(await kind.read(ask, id, opened(props)), props) : props };
            if (!kind.import)
                throw new Error(
                    `A ${kind.type} can't be imported: it is nothing that is there without its stack. Run pulumi up, which makes it.`,
                );
            const found = await kind.import(ask, id);
            if (!found) return { id: "", props: {} };
            const properties = { ...kind.inputs, ...kind.outputs };
            return {
                id,
                props: closedByKind(found.props, properties),
                inputs: closedByKind(found.inputs, properties),
            };
        });
    }

    update(id: string, urn: string, olds: Values, news: Values) {
        return this.ask(urn, async (kind, ask) => {
            const { outs } = await kind.update(ask, id, opened(olds), opened(news));
            return { outs: closed(outs, news) };
        });
    }

    delete(id: string, urn: string, props: Values) {
        return this.ask(urn, (kind, ask) => kind.delete(ask, id, opened(props)));
    }

    private async ask<T>(urn: string, question: (kind: AnyKind, ask: Ask) => Promise<T>): Promise<T> {
        const kind = this.kinds.get(typeOf(urn));
        if (!kind) throw new Error(`This version of the provider has no type ${typeOf(urn)} (${urn}).`);
        const row = this.row(urn);
        try {
            return await question(kind, row);
        } catch (error) {
            // Pulumi prints the stack beside the message
            if (error instanceof Error && !process.env.CITUS_DEBUG) error.stack = "";
            throw error;
        } finally {
            await row.told();
        }
    }
}
