# Renders a BOSH job's templates as the director does (cloudfoundry/bosh, bosh-template):
#   ruby render.rb JOB-FOLDER OUTPUT-FOLDER <properties.json
# A property that the spec does not have is an error. It prints the properties that the templates looked at.
require 'erb'
require 'fileutils'
require 'json'
require 'yaml'

# What a template sees.
class Context
  attr_reader :seen

  # Runs the block of else where if_p found nothing.
  class Missing
    def initialize(context) = @context = context
    def else = yield
    def else_if_p(*names, &block) = @context.if_p(*names, &block)
  end

  # Runs nothing where if_p found its properties.
  class Found
    def else = nil
    def else_if_p(*) = self
  end

  def initialize(spec, properties)
    @spec = spec
    @properties = properties
    @seen = {}
  end

  def p(names, *default)
    Array(names).each do |name|
      value = look(name)
      return value unless value.nil?
    end
    return default.first unless default.empty?

    raise "Can't find property '#{names}'"
  end

  def if_p(*names)
    values = names.map { |name| look(name) }
    return Missing.new(self) if values.any?(&:nil?)

    yield(*values)
    Found.new
  end

  def binding_of = binding

  private

  def look(name)
    raise "property '#{name}' is not in the spec" unless @spec.key?(name)

    @seen[name] = true
    value = name.split('.').reduce(@properties) { |at, key| at.is_a?(Hash) ? at[key] : nil }
    value.nil? ? @spec[name]['default'] : value
  end
end

job, output = ARGV
spec = YAML.safe_load(File.read(File.join(job, 'spec')))
context = Context.new(spec['properties'], JSON.parse($stdin.read))
spec['templates'].each do |template, target|
  text = ERB.new(File.read(File.join(job, 'templates', template)), trim_mode: '-').result(context.binding_of)
  path = File.join(output, target)
  FileUtils.mkdir_p(File.dirname(path))
  File.write(path, text)
  File.chmod(target.start_with?('bin/') ? 0o755 : 0o600, path)
end
puts JSON.dump(context.seen.keys.sort)
