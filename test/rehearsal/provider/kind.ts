/** What the stand-in has to know of a resource type; the tables are in kinds/. */
import type { Machines } from "./machines.ts";
import type { Props } from "./values.ts";
import type { Row, World } from "./world.ts";

/** Reports a mistake in the inputs. @param property its path, such as `metadataOptions.httpTokens` */
export type Problem = (property: string, reason: string) => void;

export interface Kind {
    /** Named by the provider when the program gives no name. */
    readonly autoname?: {
        readonly property: string;
        /** @default 255 */ readonly max?: number;
        readonly lower?: boolean;
    };
    /** Paths of the arguments whose change makes a new one. */
    readonly replaces: readonly string[];
    /** The same where it depends on the others. */
    replacesIf?(news: Props): readonly string[];
    /** Not in a region. @default false */
    readonly global?: boolean;
    /** No tags. @default false */
    readonly untagged?: boolean;
    /** Arguments that hold a policy document; an object is written as JSON, and only a change of meaning counts. */
    readonly documents?: readonly string[];
    /** Allowed values by path. */
    readonly values?: Readonly<Record<string, readonly (string | number)[]>>;
    /** Longest text by path. */
    readonly longest?: Readonly<Record<string, number>>;
    /** Smallest and largest number by path. */
    readonly range?: Readonly<Record<string, readonly [number, number]>>;
    /** What has to exist: path of the id to its type and AWS' error code. */
    readonly refers?: Readonly<Record<string, readonly [type: string, code: string]>>;
    /** What must not exist any more when this is deleted: type and the path of its reference. */
    readonly usedBy?: readonly (readonly [type: string, path: string])[];
    /** Outputs that any update makes unknown in a preview. */
    readonly unstable?: readonly string[];
    /** Mistakes that can be seen before anything exists. */
    check?(inputs: Props, problem: Problem): void;
    /** Its id and what AWS adds. Throws what AWS would refuse. */
    create(inputs: Props, world: World): { readonly id: string; readonly props?: Props };
    /** What an update adds. Throws what AWS would refuse. */
    update?(row: Row, news: Props, world: World): Props | undefined;
    /** Throws what AWS would refuse. @param state what the program last said of it, such as `forceDestroy` */
    beforeDelete?(row: Row, state: Props, world: World): void;
    /** What else is gone or changed with it. */
    afterDelete?(row: Row, state: Props, world: World): void;
    /** Another sign than its row that it is still there. */
    exists?(row: Row, world: World): boolean;
    /** What happens outside the world file. */
    readonly outside?: {
        create?(machines: Machines, row: Row, world: World): Promise<void>;
        update?(machines: Machines, row: Row, olds: Props): Promise<void>;
        delete?(machines: Machines, row: Row, state: Props, world: World): Promise<void>;
        exists?(machines: Machines, row: Row): Promise<boolean>;
    };
}

/** What AWS answers: `Code: message`. */
export class Refusal extends Error {
    constructor(code: string, message: string) {
        super(`api error ${code}: ${message}`);
    }
}
