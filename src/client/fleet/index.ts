export type { FleetDefinition, FleetVault } from './definition.js';
export { MovedAway, NotRegistered, TooFewVaults, Undecided, WrongFleetPassword } from './errors.js';
export { type Abortable, FleetClient, type FleetOptions } from './fleet.js';
export type { FleetOutcome, FleetRecovery, FleetRegistration, FleetStatus, VaultCheck } from './outcome.js';
export { Quorums } from './quorums.js';
