/** Every type of the package, and what does it. */
import { BackupsKind } from "./backups.ts";
import { ConfigurationKind } from "./configuration.ts";
import { DockerEngineKind } from "./dockerEngine.ts";
import { IdentityKind } from "./identity.ts";
import type { AnyKind } from "./kind.ts";
import { MemberKind } from "./member.ts";
import { NodeImageKind } from "./nodeImage.ts";
import { PinnedKind } from "./pinned.ts";
import { PlacementKind } from "./placement.ts";
import { PortRangeKind } from "./ports.ts";
import { PostDeployKind } from "./postDeploy.ts";
import { RecoveredKind } from "./recovered.ts";
import { ReplacementsKind } from "./replacements.ts";
import { RestoreKind } from "./restore.ts";
import { TenantGroupKind } from "./tenantGroup.ts";

export const kinds: readonly AnyKind[] = [
    new BackupsKind(),
    new ConfigurationKind(),
    new DockerEngineKind(),
    new IdentityKind(),
    new MemberKind(),
    new NodeImageKind(),
    new PinnedKind(),
    new PlacementKind(),
    new PortRangeKind(),
    new PostDeployKind(),
    new RecoveredKind(),
    new ReplacementsKind(),
    new RestoreKind(),
    new TenantGroupKind(),
];
