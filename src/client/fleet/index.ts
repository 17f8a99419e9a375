export type { FleetDefinition, FleetVault } from './definition.js';
export { MovedAway, NotRegistered, TooFewVaults, Undecided, WrongFleetPassword } from './errors.js';
export {
  type Abortable,
  FleetClient,
  type FleetOptions,
  type FleetOutcome,
  type FleetRecovery,
  type FleetRegistration,
  type FleetStatus,
  type VaultCheck,
} from './fleet.js';
export { Quorums } from './quorums.js';
