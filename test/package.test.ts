/** The package as a user gets it: built, packed, installed beside a program, imported, type-checked and bundled. */
import { execFileSync } from 'node:child_process'
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readmeBlocks } from './blocks.ts'

const root = path.resolve(import.meta.dirname, '..')
const entries = ['langevin', 'langevin/nn', 'langevin/diffusion', 'langevin/kernels', 'langevin/testing']
const user = mkdtempSync(path.join(tmpdir(), 'langevin-user-'))
const installed = path.join(user, 'node_modules/langevin')

function run(command: string, args: readonly string[], cwd: string): string {
  return execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

const tool = (name: string): string => path.join(root, 'node_modules/.bin', name)
const script = (code: string): string => run(process.execPath, ['--input-type=module', '--eval', code], user)

beforeAll(() => {
  run('npm', ['run', '--silent', 'build'], root)
  run('npm', ['pack', '--silent', '--pack-destination', user], root)
  mkdirSync(installed, { recursive: true })
  run('tar', ['-xzf', path.join(user, globSync('*.tgz', { cwd: user })[0] ?? ''), '--strip-components=1', '-C', installed], user)
  symlinkSync(path.join(root, 'node_modules/fast-check'), path.join(user, 'node_modules/fast-check'))
  writeFileSync(path.join(user, 'package.json'), '{ "name": "user", "type": "module" }')
}, 120_000)

afterAll(() => rmSync(user, { recursive: true }))

test('it holds what it should, and no more', () => {
  const files = globSync('**/*', { cwd: installed }).filter((file) => statSync(path.join(installed, file)).isFile())
  const top = new Set(files.map((file) => file.split(path.sep)[0] ?? ''))
  expect([...top].sort()).toEqual(['CHANGELOG.md', 'LICENSE', 'README.md', 'bench', 'data', 'dist', 'docs', 'package.json'])
  expect(files).toContain(path.join('data', 'digits', 'images.u8'))
  expect(files).toContain(path.join('bench', 'torch_peer.py'))
  expect(files).toContain(path.join('dist', 'node', 'cpu-worker.js'))
  expect(files).toContain(path.join('dist', 'browser', 'cpu-worker.js'))
  expect(files).toContain(path.join('docs', 'engine.md'))
})

test('no import by a # name is left, for it would lead to sources that are not there', () => {
  const left = globSync('dist/**/*.{js,d.ts}', { cwd: installed }).filter((file) => /from ['"]#/.test(readFileSync(path.join(installed, file), 'utf8')))
  expect(left).toEqual([])
})

describe('in Node', () => {
  test.each(entries)('%s can be imported', (entry) => {
    expect(script(`console.log(Object.keys(await import('${entry}')).length > 0)`)).toBe('true\n')
  })

  test('the entries share one engine', () => {
    const shared = `
      import * as engine from 'langevin'
      import * as nn from 'langevin/nn'
      import * as diffusion from 'langevin/diffusion'
      const same = [nn, diffusion].flatMap((entry) => Object.entries(entry)).filter(([name]) => name in engine)
      console.log(same.every(([name, value]) => engine[name] === value))`
    expect(script(shared)).toBe('true\n')
    const declarations = globSync('dist/node/*.js', { cwd: installed, exclude: ['**/cpu-worker.js'] }).filter((file) =>
      /\bclass Tensor\b|\bTensor = class\b/.test(readFileSync(path.join(installed, file), 'utf8')),
    )
    expect(declarations).toHaveLength(1)
  })

  test('the command line runs', () => {
    const cli = path.join(installed, 'dist/node/cli.js')
    expect(run(process.execPath, [cli, '--help'], user)).toContain('langevin')
    expect(run(process.execPath, [cli, 'bench', 'cpu', '--only', 'matmul_f32_512_aTbT', '--seconds', '0.01'], user)).toMatch(/^matmul_f32_512_aTbT .* %$/m)
  })

  test('what it includes of tinybench comes with its licence', () => {
    const including = globSync('dist/**/*.js', { cwd: installed }).map((file) => readFileSync(path.join(installed, file), 'utf8')).filter((text) => text.includes('warmupIterations'))
    expect(including.map((text) => text.includes('Copyright (c) 2022 Tinylibs'))).toEqual([true])
  })
})

test('its types serve a strict program, and the code of the README', () => {
  writeFileSync(
    path.join(user, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: {
        strict: true,
        noEmit: true,
        module: 'nodenext',
        target: 'es2024',
        lib: ['es2025', 'dom', 'esnext.disposable'],
        types: [],
        exactOptionalPropertyTypes: true,
        noUncheckedIndexedAccess: true,
      },
      include: ['*.ts'],
    }),
  )
  const imports = entries.map((entry, i) => `import * as entry${i} from '${entry}'`)
  const uses = entries.map((_, i) => `export const keys${i}: (keyof typeof entry${i})[] = []`)
  writeFileSync(path.join(user, 'program.ts'), [...imports, ...uses, ''].join('\n'))
  for (const [i, { code }] of readmeBlocks().entries()) {
    writeFileSync(path.join(user, `readme${i}.ts`), `${code}\nexport {}\n`)
  }
  expect(run(tool('tsc'), ['-p', '.'], user)).toBe('')
})

describe('bundled for browsers', () => {
  const bundle = (code: string): string => {
    const args = ['--bundle', '--minify', '--format=esm', '--platform=browser', '--external:fast-check', '--log-level=error', '--outfile=bundle.js']
    writeFileSync(path.join(user, 'page.js'), code)
    run(tool('esbuild'), ['page.js', ...args], user)
    return readFileSync(path.join(user, 'bundle.js'), 'utf8')
  }

  test.each(entries)('%s reaches nothing of Node', (entry) => {
    expect(/["'`]node:\w+|worker_threads/.exec(bundle(`export * from '${entry}'\n`))).toBeNull()
  })

  test.each(['langevin', 'langevin/nn'])('what a page takes from %s comes with the methods of tensors', (entry) => {
    bundle(`import { Tensor } from 'langevin'\nimport * as entry from '${entry}'\nconsole.log(Object.keys(entry).length > 0, typeof Tensor.prototype.add)\n`)
    expect(run(process.execPath, ['bundle.js'], user)).toBe('true function\n')
  })

  test('a page that Vite builds carries the worker', () => {
    writeFileSync(path.join(user, 'index.html'), '<script type="module" src="./main.js"></script>')
    writeFileSync(path.join(user, 'main.js'), "import * as langevin from 'langevin'\nglobalThis.langevin = langevin\n")
    run(tool('vite'), ['build', '--logLevel=error'], user)
    const worker = globSync('dist/assets/cpu-worker-*.js', { cwd: user })
    expect(worker).toHaveLength(1)
    const scripts = globSync('dist/assets/*.js', { cwd: user }).filter((file) => !worker.includes(file))
    expect(scripts.filter((file) => readFileSync(path.join(user, file), 'utf8').includes(path.basename(worker[0] ?? '')))).toHaveLength(1)
  })
})
