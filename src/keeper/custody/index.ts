export { appointCustodians, type Custody, CustodyError, openCustody } from './custodians.js';
export { type RestoredToken, rehearseToken, restoreToken } from './restore.js';
