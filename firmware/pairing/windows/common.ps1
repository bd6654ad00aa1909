param([string]$Self, [string]$Part)
$ErrorActionPreference = 'Stop'
$Fqdn = {{ps .Server}}
$Local = {{ps .Home}}
$CaSha256 = {{ps .Fingerprint}}

function Say([string]$Text) { [Console]::WriteLine($Text) }

# Certificates are the machine's: they need an administrator, and Windows asks for one. A drive is its user's: one that is
# connected as administrator does not show in Explorer. So this script runs itself a second time, for its first half.
function Run-Elevated {
    $quoted = [Management.Automation.Language.CodeGeneration]::EscapeSingleQuotedStringContent($Self)
    $code = "& ([ScriptBlock]::Create(([IO.File]::ReadAllText('$quoted', [Text.Encoding]::UTF8) -split '\r?\n#POSTERN\r?\n', 2)[1])) '$quoted' elevated"
    $bytes = [Text.Encoding]::Unicode.GetBytes($code)
    $start = [Diagnostics.ProcessStartInfo]::new('powershell.exe', '-NoLogo -NoProfile -ExecutionPolicy Bypass -EncodedCommand ' + [Convert]::ToBase64String($bytes))
    $start.Verb = 'runas'
    $start.UseShellExecute = $true
    $process = [Diagnostics.Process]::Start($start)
    $process.WaitForExit()
    return $process.ExitCode
}
