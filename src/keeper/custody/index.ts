export { appointCustodians, type Custody, CustodyError, openCustody } from './custodians.js';
export { type RestoredToken, restoreToken } from './restore.js';
