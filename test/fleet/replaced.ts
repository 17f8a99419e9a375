/** Replaces properties of global objects, and restores them at its end. */
export class Replaced {
  readonly #restore: (() => void)[] = [];

  replace<K extends string>(object: Partial<Record<K, unknown>>, name: K, by: unknown): void {
    const before = Object.getOwnPropertyDescriptor(object, name);
    Object.defineProperty(object, name, { value: by, configurable: true, writable: true });
    this.add(() => {
      if (before) Object.defineProperty(object, name, before);
      else Reflect.deleteProperty(object, name);
    });
  }

  add(restore: () => void): void {
    this.#restore.unshift(restore);
  }

  end(): void {
    for (const restore of this.#restore.splice(0)) restore();
  }
}
