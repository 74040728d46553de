# Calls a CPI through the Director's own code (cloudfoundry/bosh, bosh-director/lib/clouds/external_cpi.rb):
#   BOSH_DIRECTOR_LIB=…/bosh-director/lib ruby external_cpi.rb <request.json
# The gem membrane has to be among Ruby's gems, or in RUBYLIB. The answer is one JSON object: result, or error with the
# class, message and ok_to_retry of the exception, and log, which is what a task's CPI log gets.
require 'json'
require 'logger'
require 'stringio'
require 'tempfile'

lib = ENV.fetch('BOSH_DIRECTOR_LIB')
$LOAD_PATH.unshift(lib)

module Bosh
  module Director
    # What of the Director's configuration its CPI client reads.
    module Config
      class << self
        attr_accessor :cpi_task_log

        def preferred_cpi_api_version = 3
      end
    end
  end
end

require 'bosh/director/tagged_logger'
require 'bosh/director/deep_copy'
require 'clouds/errors'
require 'clouds/external_cpi'
require 'clouds/external_cpi_response_wrapper'

request = JSON.parse($stdin.read)
log = Tempfile.new('cpi-log')
Bosh::Director::Config.cpi_task_log = log.path
answer = {}
begin
  cpi = Bosh::Clouds::ExternalCpi.new(
    request['exec'], request['uuid'], Logger.new(StringIO.new),
    properties_from_cpi_config: request['properties'], stemcell_api_version: request['stemcell']
  )
  version = [cpi.info.fetch('api_version'), Bosh::Director::Config.preferred_cpi_api_version].min # as cloud_factory.rb
  wrapped = Bosh::Clouds::ExternalCpiResponseWrapper.new(cpi, version)
  answer['result'] = wrapped.public_send(request['method'], *request['arguments'])
rescue StandardError => e
  answer['error'] = {
    'type' => e.class.name, 'message' => e.message, 'ok_to_retry' => e.respond_to?(:ok_to_retry) && e.ok_to_retry == true
  }
end
answer['log'] = File.read(log.path)
puts JSON.dump(answer)
