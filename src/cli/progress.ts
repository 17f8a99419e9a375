/** A bar on a terminal; nothing elsewhere. */
export function progressBar(label: string): ((done: number, total: number) => void) | undefined {
  if (!process.stderr.isTTY) return undefined;
  let last = 0;
  return (done, total) => {
    const now = Date.now();
    if (done < total && now - last < 100) return;
    last = now;
    const share = total === 0 ? 1 : done / total;
    const filled = Math.round(share * 30);
    process.stderr.write(
      `\r${label} [${'█'.repeat(filled)}${'░'.repeat(30 - filled)}] ${(share * 100).toFixed(0).padStart(3)} %${done >= total ? '\n' : ''}`,
    );
  };
}
