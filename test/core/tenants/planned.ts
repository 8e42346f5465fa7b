/** A group of tenants whose plans are tested. */
import type { GroupSpec } from "../../../core/tenants/group/spec.ts";

export const group = (more: Partial<GroupSpec> = {}): GroupSpec => ({
    name: "clinics",
    model: "schema",
    tables: {},
    template: [],
    tenants: { acme: { role: true }, globex: { role: true } },
    delete: [],
    allow: [],
    rowSecurity: true,
    rollout: { canary: 1, part: 0.1 },
    lockTimeout: 5000,
    ...more,
});

export const texts = ({ steps }: { steps: readonly { text: string }[] }) => steps.map(({ text }) => text);
