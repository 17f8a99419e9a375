import { workerData } from 'node:worker_threads';
import pkcs11 from 'pkcs11js';

// Runs alone, when no session is left: C_Finalize ends the module for the whole process.
const p11 = new pkcs11.PKCS11();
p11.load(workerData as string);
try {
  p11.C_Finalize();
} catch {
  // It was not initialized, or has lost its device: the next C_Initialize tells.
}
