/** The processes that face clients get no variable of the environment which they need not know, so a setting is in the URL. */
export function preloadWith(name: 'loaded' | 'worker-faults', setting: string): string {
  return String(new URL(`./${name}.js?${encodeURIComponent(setting)}`, import.meta.url));
}

/** The setting of a module that was preloaded so. */
export const settingOf = (url: string): string => decodeURIComponent(new URL(url).search.slice(1));
