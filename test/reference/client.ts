import ts from 'typescript';

const ENTRY = 'src/client/index.ts';

const program = () =>
  ts.createProgram([ENTRY], {
    target: ts.ScriptTarget.ES2023,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    strict: true,
    exactOptionalPropertyTypes: true,
    lib: ['lib.es2023.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'],
    types: [],
  });

/** Renders docstrings as Markdown. A link becomes the name of its target. */
class Docs {
  readonly #names: ReadonlySet<string>;

  constructor(
    readonly checker: ts.TypeChecker,
    exported: readonly ts.Symbol[],
  ) {
    const members = exported.flatMap((symbol) =>
      [...(symbol.members?.keys() ?? [])].map((member) => `${symbol.name}.${member}`),
    );
    this.#names = new Set([...exported.map(({ name }) => name), ...members]);
  }

  of(documented: ts.Symbol | ts.Signature): string {
    const text = ts.displayPartsToString(documented.getDocumentationComment(this.checker));
    const all = 'getJsDocTags' in documented ? documented.getJsDocTags(this.checker as never) : [];
    // The text of a parameter property is already that of its @param tag.
    const isProperty = 'flags' in documented && (documented.flags & ts.SymbolFlags.Property) !== 0;
    const tags = all
      .filter(({ name }) => !(isProperty && name === 'param'))
      .map(({ name, text }) => this.#tag(name, ts.displayPartsToString(text)));
    return this.#linked([text, ...tags].filter(Boolean).join(' ')).replace(/\s*\n\s*/g, ' ');
  }

  #tag(name: string, text: string): string {
    if (name === 'throws') return `*Throws* ${text}.`;
    if (name === 'returns') return `*Returns* ${text}.`;
    const [parameter, ...about] = text.split(' ');
    return `\`${parameter}\`: ${about.join(' ')}.`;
  }

  #linked(text: string): string {
    return text.replace(/\{@link\s+([\w.]+)\s*\}/g, (_, name: string) => {
      const own = [...this.#names].some((known) => known === name || known.endsWith(`.${name}`));
      if (!own) throw new Error(`a docstring of the client library links to ${name}, which it does not have`);
      return `\`${name}\``;
    });
  }
}

const isPrivate = (declaration: ts.Declaration): boolean =>
  (ts.getCombinedModifierFlags(declaration) & ts.ModifierFlags.Private) !== 0 ||
  ((declaration as ts.NamedDeclaration).name !== undefined &&
    ts.isPrivateIdentifier((declaration as ts.NamedDeclaration).name as ts.Node));

/** A type, written in the same way by every version of TypeScript. */
const written = (checker: ts.TypeChecker, type: ts.Type): string =>
  checker.typeToString(type).replaceAll('Uint8Array<ArrayBufferLike>', 'Uint8Array');

const declared = (symbol: ts.Symbol): ts.Declaration => symbol.declarations?.[0] as ts.Declaration;

/** `name(parameters): result`, as a caller writes it. */
function signature(checker: ts.TypeChecker, name: string, signature: ts.Signature, isNew = false): string {
  const parameters = signature.getParameters().map((parameter) => {
    const declaration = declared(parameter) as ts.ParameterDeclaration;
    const type = declaration.type?.getText() ?? written(checker, checker.getTypeOfSymbol(parameter));
    // A destructured parameter has no name.
    const called = ts.isIdentifier(declaration.name) ? parameter.name : 'options';
    const mayLack = declaration.initializer !== undefined || declaration.questionToken !== undefined;
    return `${called}${mayLack ? '?' : ''}: ${type.replace(/\s+/g, ' ')}`;
  });
  const result = isNew ? '' : `: ${written(checker, signature.getReturnType())}`;
  return `${isNew ? 'new ' : ''}${name}(${parameters.join(', ')})${result}`;
}

const typeOf = (checker: ts.TypeChecker, symbol: ts.Symbol): string =>
  (
    (declared(symbol) as ts.PropertySignature).type?.getText() ??
    written(checker, checker.getTypeOfSymbol(symbol))
  ).replace(/\s+/g, ' ');

const row = (code: string, about: string): string => `| \`${code.replaceAll('|', '\\|')}\` | ${about} |`;
const table = (rows: readonly string[]): string =>
  rows.length > 0 ? `\n\n| | |\n|---|---|\n${rows.join('\n')}` : '';

function members(checker: ts.TypeChecker, docs: Docs, type: ts.Type, inherited: boolean): string[] {
  return type
    .getProperties()
    .filter((member) => member.declarations?.length && !isPrivate(declared(member)))
    .filter(
      (member) => inherited || declared(member).parent === declared(type.symbol) || isParameter(member, type),
    )
    .map((member) => {
      const [call] = checker.getTypeOfSymbol(member).getCallSignatures();
      const isMethod = ts.isMethodDeclaration(declared(member));
      const optional = member.flags & ts.SymbolFlags.Optional ? '?' : '';
      return row(
        call && isMethod
          ? signature(checker, member.name, call)
          : `${member.name}${optional}: ${typeOf(checker, member)}`,
        docs.of(member),
      );
    });
}

/** Whether a constructor's parameter declares this property. */
const isParameter = (member: ts.Symbol, type: ts.Type): boolean =>
  declared(member).parent.parent === declared(type.symbol);

/** The part of a class that an app uses. Only the library makes errors, so their constructors are left out. */
function classSection(checker: ts.TypeChecker, docs: Docs, symbol: ts.Symbol): string {
  const type = checker.getDeclaredTypeOfSymbol(symbol);
  const [made] = isError(checker, symbol) ? [] : checker.getTypeOfSymbol(symbol).getConstructSignatures();
  const rows = made ? [row(signature(checker, symbol.name, made, true), docs.of(made))] : [];
  return `${docs.of(symbol)}${table([...rows, ...members(checker, docs, type, false)])}`;
}

function section(checker: ts.TypeChecker, docs: Docs, symbol: ts.Symbol): string {
  const heading = `### ${symbol.name}\n\n`;
  if (symbol.flags & ts.SymbolFlags.Class) return heading + classSection(checker, docs, symbol);
  if (symbol.flags & ts.SymbolFlags.Interface)
    return `${heading}${docs.of(symbol)}${table(members(checker, docs, checker.getDeclaredTypeOfSymbol(symbol), true))}`;
  const [call] = checker.getTypeOfSymbol(symbol).getCallSignatures();
  const declaration = declared(symbol) as ts.TypeAliasDeclaration | ts.VariableDeclaration;
  if (call && !declaration.type?.getText().match(/^\w+$/) && !ts.isTypeAliasDeclaration(declaration))
    return `${heading}\`${signature(checker, symbol.name, call)}\`\n\n${docs.of(symbol)}`;
  const text = declaration.type?.getText().replace(/\s+/g, ' ').replace(/^\| /, '');
  return `${heading}\`${text}\`\n\n${docs.of(symbol)}`;
}

const isError = (checker: ts.TypeChecker, symbol: ts.Symbol): boolean =>
  (symbol.flags & ts.SymbolFlags.Class) !== 0 &&
  checker.getDeclaredTypeOfSymbol(symbol).getProperty('stack') !== undefined;

/** The client library's reference, Markdown. @throws if a docstring links to something that does not exist */
export function clientReference(): string {
  const read = program();
  const checker = read.getTypeChecker();
  const module = checker.getSymbolAtLocation(read.getSourceFile(ENTRY) as ts.SourceFile) as ts.Symbol;
  const exported = checker
    .getExportsOfModule(module)
    .map((symbol) => (symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const docs = new Docs(checker, exported);
  const kinds: [string, (symbol: ts.Symbol) => boolean][] = [
    ['Clients', ({ flags }) => (flags & ts.SymbolFlags.Class) !== 0],
    ['Functions', ({ flags }) => (flags & (ts.SymbolFlags.Function | ts.SymbolFlags.Variable)) !== 0],
    ['Types', () => true],
  ];
  const errors = exported.filter((symbol) => isError(checker, symbol));
  let rest = exported.filter((symbol) => !errors.includes(symbol));
  const groups = kinds.map(([title, is]) => {
    const these = rest.filter(is);
    rest = rest.filter((symbol) => !these.includes(symbol));
    return [title, these] as const;
  });
  return `# The client library, name by name

Made from the docstrings by \`npm run docs\`. [client.md](client.md) shows how they are used.

${[...groups, ['Errors', errors] as const]
  .map(
    ([title, symbols]) =>
      `## ${title}\n\n${symbols.map((symbol) => section(checker, docs, symbol).trim()).join('\n\n')}`,
  )
  .join('\n\n')}
`;
}
