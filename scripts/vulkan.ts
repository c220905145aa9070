/**
 * Puts Mesa's lavapipe, a Vulkan driver for the processor, into node_modules, and checks that Dawn runs over it. Dawn needs
 * Mesa 25, which bookworm has in its backports: what installing it from there would install is unpacked beside the system,
 * which stays as it is and need not be one's own.
 *
 *     npm run vulkan                                    # once
 *     eval "$(npm run --silent vulkan swiftshader)"     # a shell in which Node's WebGPU runs over a driver
 */
import { spawnSync } from 'node:child_process'
import { globSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { debianSite, drivers, environment, lavapipe, manifest, mesa, remedies } from './drivers.ts'
import type { Driver, Environment } from './drivers.ts'

function fail(why: string): never {
  console.error(`vulkan: ${why}`)
  process.exit(1)
}

function run(command: string, args: readonly string[], options: { readonly cwd?: string; readonly env?: NodeJS.ProcessEnv } = {}): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', ...options })
  if (error !== undefined) fail(`${command} does not start (${error.message})`)
  if (status !== 0) fail(`${command} ${args.join(' ')} failed with status ${status}:\n${stdout}${stderr}`)
  return stdout
}

/** The name of this Debian's release, such as bookworm. */
function release(): string {
  const text = globSync('/etc/os-release').map((file) => readFileSync(file, 'utf8')).join('')
  const value = (name: string): string | undefined => new RegExp(`^${name}="?([^"\\n]*)"?$`, 'm').exec(text)?.[1]
  const [id, codename] = [value('ID') ?? process.platform, value('VERSION_CODENAME')]
  if (id === 'debian' && codename !== undefined) return codename
  return fail(`lavapipe is fetched on Debian 12 and later, this is ${id}; run the tests of WebGPU in a container, such as node:24-bookworm`)
}

/** Unpacks Mesa's Vulkan drivers, and all that they need and the system lacks, into the folder `to`. */
function unpack(to: string): void {
  const codename = release()
  const targets = run('apt-get', ['indextargets', '--no-release-info', '--format', '$(RELEASE) $(COMPONENT) $(SITE)', 'Created-By: Packages'])
  const site = debianSite(targets, codename) ?? fail(`apt has no source of Debian's packages for ${codename}, from whose site lavapipe would be fetched; add a line "deb SITE ${codename} main" with your mirror's address to /etc/apt/sources.list`)
  const [keys] = globSync('/usr/share/keyrings/debian-archive-keyring.{gpg,pgp}')
  const backports = `${codename}-backports`
  const apt = path.join(to, 'apt')
  mkdirSync(path.join(apt, 'lists/partial'), { recursive: true })
  mkdirSync(path.join(apt, 'archives/partial'), { recursive: true })
  const suites = [codename, `${codename}-updates`, backports]
  writeFileSync(path.join(apt, 'sources.list'), suites.map((suite) => `deb ${keys === undefined ? '' : `[signed-by=${keys}] `}${site} ${suite} main\n`).join(''))

  // Lists and archives of its own, so that neither root nor the system's lists are needed.
  const options = { 'Dir::Etc::sourcelist': path.join(apt, 'sources.list'), 'Dir::Etc::sourceparts': '-', 'Dir::State::Lists': path.join(apt, 'lists'), 'Dir::Cache': apt, 'APT::Sandbox::User': '', 'Acquire::Languages': 'none' }
  const aptGet = (...args: readonly string[]): string => run('apt-get', [...Object.entries(options).map(([name, value]) => `-o${name}=${value}`), ...args], { cwd: apt })
  aptGet('update', '--error-on=any')
  const plan = aptGet('install', '--simulate', '--reinstall', '--no-install-recommends', `--target-release=${backports}`, 'mesa-vulkan-drivers')
  const packages = [...plan.matchAll(/^Inst (\S+) (?:\[\S+\] )?\((\S+)/gm)].map(([, name, version]) => `${name}=${version}`)
  aptGet('download', ...packages)
  for (const archive of globSync('*.deb', { cwd: apt })) run('dpkg-deb', ['--extract', path.join(apt, archive), to])
  rmSync(apt, { recursive: true })

  const [library] = globSync('usr/lib/*/libvulkan_lvp.so', { cwd: to })
  if (library === undefined) fail(`${packages.join(', ')} hold no usr/lib/*/libvulkan_lvp.so`)
  const icd = { file_format_version: '1.0.0', ICD: { library_path: './libvulkan_lvp.so', api_version: '1.3.0' } }
  writeFileSync(path.join(to, path.dirname(library), manifest), JSON.stringify(icd))
}

/** What Dawn in Node says about the adapter it gets in `env`. */
function adapter(env: Environment): string {
  const program = `
    import { create } from 'webgpu'
    globalThis.gpu = create([]) // reachable as long as the process lives
    console.log((await globalThis.gpu.requestAdapter())?.info.description ?? '')`
  return run(process.execPath, ['--input-type=module', '--eval', program], { cwd: import.meta.dirname, env: { ...process.env, ...env } }).trim()
}

function install(): Environment {
  const known = environment('lavapipe')
  if (known !== undefined) return known
  const fresh = `${mesa}-${process.pid}`
  process.once('exit', () => rmSync(fresh, { recursive: true, force: true }))
  unpack(fresh)
  const found = adapter(lavapipe(fresh) ?? {})
  if (!found.startsWith('llvmpipe')) fail(`Dawn does not take lavapipe, its adapter is ${found === '' ? 'none' : found}`)
  renameSync(fresh, mesa)
  console.error(`vulkan: ${found}, in ${mesa}`)
  return install()
}

function find(driver: Driver): Environment {
  if (driver === 'lavapipe') return install()
  return environment(driver) ?? fail(`${driver} is missing. ${remedies[driver]}`)
}

const name = process.argv[2] ?? 'lavapipe'
const driver = drivers.find((known) => known === name) ?? fail(`there is no driver ${name}, only ${drivers.join(' and ')}`)
for (const [variable, value] of Object.entries(find(driver))) console.log(`export ${variable}='${value}'`)
