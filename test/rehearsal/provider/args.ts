/**
 * The argument names of @pulumi/aws' resources and functions, read from its type declarations: which there are, which are
 * required, what is nested in them. The program's compiler checks them too, but not what went through `any`.
 */
import { createHash } from "node:crypto";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type * as typescript from "typescript";
import { ASSET, hasUnknown, isObject, type Props, SIGNATURE } from "./values.ts";

const require = createRequire(import.meta.url);
const PACKAGE = dirname(require.resolve("@pulumi/aws/package.json"));

/** The version that the program was written against. */
export const VERSION = (JSON.parse(readFileSync(join(PACKAGE, "package.json"), "utf8")) as { version: string }).version;

/** What a value may look like. Scalars are not told apart: the provider converts them. */
export type Shape = "any" | "scalar" | { list: Shape } | { map: Shape } | { named: string };

export interface Property {
    readonly required: boolean;
    readonly shape: Shape;
}

export type Properties = Record<string, Property>;

interface Declared {
    /** Of a resource or function, by token. */
    readonly args: Record<string, Properties>;
    /** Of a resource, by token; required means that AWS always has a value. */
    readonly outputs: Record<string, Properties>;
    /** Nested argument types by name, such as `ec2.InstanceMetadataOptions`. */
    readonly nested: Record<string, Properties>;
}

let declared: Declared | undefined;

/** Reads the declarations of these tokens, or what an earlier process read. */
export function declarations(tokens: readonly string[]): Declared {
    if (declared) return declared;
    const key = createHash("sha256")
        .update(JSON.stringify([VERSION, tokens, readFileSync(import.meta.filename, "utf8")]))
        .digest("hex")
        .slice(0, 16);
    const cache = join(tmpdir(), `pulumi-aws-names-${key}.json`);
    if (existsSync(cache)) declared = JSON.parse(readFileSync(cache, "utf8")) as Declared;
    else {
        declared = parse(tokens);
        const whole = `${cache}.${process.pid}`;
        writeFileSync(whole, JSON.stringify(declared));
        renameSync(whole, cache);
    }
    return declared;
}

/** `aws:ec2/instance:Instance` is declared in ec2/instance.d.ts, `aws:index/getRegion:getRegion` in getRegion.d.ts. */
function fileOf(token: string): { file: string; name: string } {
    const [, path = "", name = ""] = token.split(":");
    return { file: join(PACKAGE, `${path.replace(/^index\//, "")}.d.ts`), name };
}

function parse(tokens: readonly string[]): Declared {
    const ts = require("typescript") as typeof typescript;
    const source = (file: string) =>
        ts.createSourceFile(file, readFileSync(file, "utf8"), ts.ScriptTarget.Latest, false);
    const nameOf = (node: typescript.Node | undefined): string =>
        node && (ts.isIdentifier(node) || ts.isStringLiteral(node)) ? node.text : "";

    const shapeOf = (type: typescript.TypeNode | undefined): Shape => {
        if (!type) return "any";
        if (ts.isParenthesizedTypeNode(type)) return shapeOf(type.type);
        if (ts.isArrayTypeNode(type)) return { list: shapeOf(type.elementType) };
        if (ts.isTypeLiteralNode(type)) {
            const [index] = type.members;
            return index && ts.isIndexSignatureDeclaration(index) ? { map: shapeOf(index.type) } : "any";
        }
        if (ts.isUnionTypeNode(type)) {
            const shapes = type.types.filter((t) => t.kind !== ts.SyntaxKind.UndefinedKeyword).map(shapeOf);
            const [first = "any"] = shapes;
            return shapes.every((s) => JSON.stringify(s) === JSON.stringify(first)) ? first : "any";
        }
        if (ts.isTypeReferenceNode(type)) {
            const full = qualified(type.typeName);
            if (full === "pulumi.Input" || full === "pulumi.Output") return shapeOf(type.typeArguments?.[0]);
            if (full.startsWith("inputs.")) return { named: full.slice("inputs.".length) };
            if (full.startsWith("enums.")) return "scalar";
            return "any";
        }
        return type.kind === ts.SyntaxKind.AnyKeyword ? "any" : "scalar";
    };
    const qualified = (name: typescript.EntityName): string =>
        ts.isIdentifier(name) ? name.text : `${qualified(name.left)}.${name.right.text}`;

    const propertiesOf = (node: typescript.InterfaceDeclaration | typescript.ClassDeclaration): Properties => {
        const found: Properties = {};
        for (const member of node.members) {
            if (!ts.isPropertySignature(member) && !ts.isPropertyDeclaration(member)) continue;
            if (member.modifiers?.some((m) => m.kind === ts.SyntaxKind.StaticKeyword)) continue;
            const output = ts.isPropertyDeclaration(member);
            const inner =
                output && member.type && ts.isTypeReferenceNode(member.type)
                    ? member.type.typeArguments?.[0]
                    : member.type;
            const optional =
                inner !== undefined &&
                ts.isUnionTypeNode(inner) &&
                inner.types.some((t) => t.kind === ts.SyntaxKind.UndefinedKeyword);
            found[nameOf(member.name)] = {
                required: output ? !optional : member.questionToken === undefined,
                shape: shapeOf(member.type),
            };
        }
        return found;
    };

    const args: Record<string, Properties> = {};
    const outputs: Record<string, Properties> = {};
    for (const token of tokens) {
        const { file, name } = fileOf(token);
        const wanted = `${name[0]?.toUpperCase()}${name.slice(1)}Args`;
        args[token] = {};
        for (const statement of source(file).statements) {
            if (ts.isInterfaceDeclaration(statement) && statement.name.text === wanted)
                args[token] = propertiesOf(statement);
            if (ts.isClassDeclaration(statement) && statement.name?.text === name)
                outputs[token] = propertiesOf(statement);
        }
    }

    const interfaces = new Map<string, typescript.InterfaceDeclaration>();
    const collect = (statements: readonly typescript.Statement[], prefix: string) => {
        for (const statement of statements) {
            if (ts.isInterfaceDeclaration(statement)) interfaces.set(prefix + statement.name.text, statement);
            if (ts.isModuleDeclaration(statement) && statement.body && ts.isModuleBlock(statement.body))
                collect(statement.body.statements, `${prefix}${nameOf(statement.name)}.`);
        }
    };
    collect(source(join(PACKAGE, "types", "input.d.ts")).statements, "");
    const nested: Record<string, Properties> = {};
    const need = (shape: Shape, from: string): Shape => {
        if (typeof shape === "string") return shape;
        if ("list" in shape) return { list: need(shape.list, from) };
        if ("map" in shape) return { map: need(shape.map, from) };
        const found = interfaces.get(shape.named);
        if (!found) throw new Error(`${from}: no type ${shape.named} in @pulumi/aws`);
        if (!nested[shape.named]) {
            nested[shape.named] = {};
            const properties = propertiesOf(found);
            for (const p of Object.values(properties)) need(p.shape, shape.named);
            nested[shape.named] = properties;
        }
        return shape;
    };
    for (const [token, properties] of Object.entries(args))
        for (const p of Object.values(properties)) need(p.shape, token);
    return { args, outputs, nested };
}

/** Reports names that don't exist, values of the wrong make and what is missing; each with its path. */
export function checkNames(
    properties: Properties,
    nested: Record<string, Properties>,
    values: Props,
    problem: (path: string, reason: string) => void,
    at = "",
): void {
    for (const [name, value] of Object.entries(values)) {
        const property = properties[name];
        const path = at === "" ? name : `${at}.${name}`;
        if (name.startsWith("__")) continue;
        if (!property) {
            problem(path, `unexpected: there is no such argument; ${near(name, Object.keys(properties))}`);
            continue;
        }
        checkShape(property.shape, nested, value, problem, path);
    }
    for (const [name, property] of Object.entries(properties))
        if (property.required && values[name] === undefined)
            problem(at === "" ? name : `${at}.${name}`, "missing required argument");
}

function checkShape(
    shape: Shape,
    nested: Record<string, Properties>,
    value: unknown,
    problem: (path: string, reason: string) => void,
    path: string,
): void {
    if (shape === "any" || (typeof value === "string" && hasUnknown(value))) return;
    if (isObject(value) && value[SIGNATURE] === ASSET) return;
    if (shape === "scalar") {
        if (typeof value === "object") problem(path, "a single value is wanted, not a list or an object");
        return;
    }
    if ("list" in shape) {
        if (!Array.isArray(value)) problem(path, "a list is wanted");
        else for (const [i, v] of value.entries()) checkShape(shape.list, nested, v, problem, `${path}[${i}]`);
        return;
    }
    if (!isObject(value)) {
        problem(path, "an object is wanted");
        return;
    }
    if ("map" in shape) {
        for (const [k, v] of Object.entries(value)) checkShape(shape.map, nested, v, problem, `${path}.${k}`);
        return;
    }
    checkNames(nested[shape.named] ?? {}, nested, value, problem, path);
}

function near(name: string, names: readonly string[]): string {
    const start = names.filter((n) => n.slice(0, 4).toLowerCase() === name.slice(0, 4).toLowerCase());
    return `there are ${(start.length > 0 ? start : names).join(", ")}`;
}
