/** The shape of what a resource does when the engine asks. */

/** One question of the engine: which resource it is about, and what is said to who waits for the answer. */
export interface Ask {
    readonly urn: string;
    /** Shown on the resource's own row while it lasts. */
    readonly progress: (text: string) => void;
    /** Kept under Diagnostics. */
    readonly note: (text: string) => void;
    readonly warn: (text: string) => void;
}

export interface CheckFailure {
    /** Path of the property, such as `workers[1].host`. */
    readonly property: string;
    /** What is wrong with it, with the value that was got: the engine shows a value inside an object as nil. */
    readonly reason: string;
}

export interface Checked<Inputs> {
    readonly inputs: Inputs;
    /** Every mistake at once. @default none */
    readonly failures?: readonly CheckFailure[];
}

export interface Difference {
    readonly changes: boolean;
    /** Inputs whose change makes another resource. */
    readonly replaces?: string[];
    /** Whether the old one goes before the new one comes. @default false */
    readonly deleteBeforeReplace?: boolean;
}

/** A type of the package, as a state has it. */
export type Token = `citus-clusters:index:${string}`;

/**
 * What a type does. Values are plain: secrets are opened, and what a preview does not know yet is a text that
 * `unknown()` recognizes.
 * @typeParam Inputs what it is asked with
 * @typeParam State what the state keeps: inputs, and what was found out
 * @typeParam Given what the program gives, where `check` fills something in
 */
export interface ResourceKind<Inputs extends object, State extends Inputs, Given extends object = Inputs> {
    readonly type: Token;
    readonly description: string;
    /** What the schema says of the inputs, one for each. */
    readonly inputs: Properties<Given>;
    /** What the schema says of the rest of the state. */
    readonly outputs: Properties<Omit<State, keyof Given>>;
    /** Runs before a create or update, in preview too. `olds` are the inputs of the last run, empty for a new resource. */
    check?(ask: Ask, olds: Partial<Inputs>, news: Given): Promise<Checked<Inputs>>;
    /** Runs in preview too. */
    diff(ask: Ask, id: string, olds: State, news: Inputs): Promise<Difference>;
    create(ask: Ask, inputs: Inputs): Promise<{ readonly id: string; readonly outs: State }>;
    /** Runs in a refresh. @default the state stays as it is */
    read?(ask: Ask, id: string, props: State): Promise<State>;
    /** What `pulumi import` finds under an id; undefined when there is nothing. @default it can't be imported */
    import?(ask: Ask, id: string): Promise<{ readonly inputs: Inputs; readonly props: State } | undefined>;
    update(ask: Ask, id: string, olds: State, news: Inputs): Promise<{ readonly outs: State }>;
    delete(ask: Ask, id: string, props: State): Promise<void>;
}

// biome-ignore lint/suspicious/noExplicitAny: kinds of every inputs and state
type Any = ResourceKind<any, any, any>;

/** One of a list of kinds. */
export type AnyKind = Omit<Any, "inputs" | "outputs"> & { readonly inputs: Described; readonly outputs: Described };

/** For each property what the schema says of it: a missing one, one too many or one of another type does not compile. */
export type Properties<Of extends object> = { readonly [Key in keyof Required<Of>]: Property<Of, Key> };

/** What any of them says. */
export type Described = Readonly<Record<string, PropertySchema>>;

/** @typeParam Key a property that may be left away says so */
type Property<Of extends object, Key extends keyof Of> = PropertySchema &
    (Record<never, never> extends Pick<Of, Key> ? { readonly optional: true } : { readonly optional?: never }) & {
        readonly type: TypeOf<NonNullable<Of[Key]>>;
    };

type TypeOf<Value> = [Value] extends [string]
    ? "string"
    : [Value] extends [number]
      ? "integer" | "number"
      : [Value] extends [boolean]
        ? "boolean"
        : [Value] extends [readonly unknown[]]
          ? "array"
          : "object";

export interface PropertySchema {
    readonly type: "string" | "integer" | "number" | "boolean" | "array" | "object";
    readonly optional?: true | undefined;
    /** Whether an import closes it. What the program gives as a secret is one anyway. @default false */
    readonly secret?: true;
    readonly description?: string;
}
