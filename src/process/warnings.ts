/** Hides what Node.js calls experimental: a library may use it where it exists (HPKE does), and the user can do nothing about it. */
export function hideExperimentalWarnings(): void {
  const printers = process.listeners('warning');
  process.removeAllListeners('warning');
  process.on('warning', (warning) => {
    if (warning.name !== 'ExperimentalWarning') for (const print of printers) print(warning);
  });
}
