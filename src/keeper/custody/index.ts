export { appointCustodians, type Custody, CustodyError, openCustody } from './custodians.js';
