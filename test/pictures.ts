/** Makes the pictures of README.md from the real page and from the demonstration in a terminal. Run by `npm run pictures`. */
import { execFileSync } from 'node:child_process';
import type { Browser } from 'playwright-core';
import { launch, servePage, Visitor } from './support/page.js';

const OUT = 'docs/pictures';

async function page(browser: Browser): Promise<void> {
  const { server, url } = await servePage();
  try {
    const visitor = await Visitor.at(browser, url, 'alice', {
      viewport: { width: 900, height: 560 },
      deviceScaleFactor: 1.5,
    });
    await visitor.chooseFiles({
      name: 'holiday.jpg',
      mimeType: 'image/jpeg',
      buffer: Buffer.from('a picture'),
    });
    await visitor.page.screenshot({ path: `${OUT}/page.png` });
  } finally {
    server.kill();
  }
}

const escaped = (text: string): string =>
  text.replace(/[&<>]/g, (char) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[char] as string);

/** Takes a picture of the output of `npm run demo`, from the new phone on. */
async function terminal(browser: Browser): Promise<void> {
  const said = execFileSync('bash', ['-c', 'bash softhsm/demo.sh 2>&1'], { encoding: 'utf8' });
  const shown = said.slice(said.indexOf('── A new phone'), said.indexOf('── Done')).trim();
  const lines = escaped(shown).replace(/^── .*$/gm, (line) => `<b>${line}</b>`);
  const tab = await browser.newPage({ deviceScaleFactor: 1.5 });
  await tab.setContent(
    `<style>body { margin: 0 } pre { display: inline-block; margin: 0; padding: 16px 20px; font: 13px/1.45 monospace;
     color: #dde3ea; background: #16191d } b { color: #7fd1a0; font-weight: 600 }</style><pre>${lines}</pre>`,
  );
  await tab.locator('pre').screenshot({ path: `${OUT}/terminal.png` });
}

const browser = await launch();
try {
  await terminal(browser);
  await page(browser);
} finally {
  await browser.close();
}
