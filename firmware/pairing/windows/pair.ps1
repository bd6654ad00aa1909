$Secret = {{ps .Secret}}
$Share = {{ps .Share}}
$User = {{ps .User}}
$Port = {{.Port}}
$LocalPort = {{.AtHome}}

# Speaks with the box before this PC can know that it is the box: whoever answers is heard. What tells it from somebody in
# between is the code that a person compares.
function Send-Box([string]$what, [byte[]]$body, [string]$header, [byte[]]$value) {
    $ask = [Net.HttpWebRequest]::Create("$Page/pair/$what")
    $ask.Method = 'POST'
    $ask.KeepAlive = $false
    $ask.ServerCertificateValidationCallback = { $true }
    $ask.Headers.Add('Authorization', "Bearer $Secret")
    $ask.Headers.Add('Postern-Device', [Uri]::EscapeDataString($env:COMPUTERNAME))
    $ask.Headers.Add($header, [Convert]::ToBase64String($value))
    $ask.ContentLength = $body.Length
    try {
        $to = $ask.GetRequestStream()
        $to.Write($body, 0, $body.Length)
        $to.Close()
        return [IO.StreamReader]::new($ask.GetResponse().GetResponseStream()).ReadToEnd()
    } catch {
        $refusal = $_.Exception.InnerException.Response
        if (-not $refusal) {
            Say "If the box cannot be reached at $Page, look whether a firewall is in the way."
            throw
        }
        $said = [IO.StreamReader]::new($refusal.GetResponseStream()).ReadToEnd()
        $why = [regex]::Match($said, '"error": "(.*)"').Groups[1].Value
        throw "The box refuses: $why"
    }
}

function Get-Hash([byte[]]$bytes) { return [Security.Cryptography.SHA256]::Create().ComputeHash($bytes) }

# Makes the six digits that the box shows as well, if it has the same authority and the same request as this PC.
function Get-Code([byte[]]$authority, [byte[]]$request) {
    $own = [byte[]]::new(32)
    [Security.Cryptography.RandomNumberGenerator]::Create().GetBytes($own)
    $both = (Get-Hash $authority) + (Get-Hash $request) + $own
    $settled = Get-Hash ([Text.Encoding]::ASCII.GetBytes('postern pairing commit') + $both)
    $theirs = [Convert]::FromBase64String((Send-Box 'request' $request 'Postern-Commitment' $settled))
    $null = Send-Box 'open' @() 'Postern-Nonce' $own
    [byte[]]$sum = Get-Hash ([Text.Encoding]::ASCII.GetBytes('postern pairing code') + $both + $theirs)
    return ([int]([BitConverter]::ToUInt32($sum, 0) % 1000000)).ToString('D6').Insert(3, ' ')
}

function Pair {
    $folder = [IO.Path]::Combine([IO.Path]::GetTempPath(), 'postern-' + [Guid]::NewGuid().ToString('N'))
    $null = [IO.Directory]::CreateDirectory($folder)
    try {
        Say '1 of 4: a key that stays on this PC'
        $request = New-Request $folder

        Say '2 of 4: the code'
        try {
            $null = [Net.Dns]::GetHostAddresses($Local)
        } catch {
            Say "This PC does not know the name $Local. Are PC and box in one network? If they are, the name has to stand in"
            Say 'the DNS of your router, or in the file C:\Windows\System32\drivers\etc\hosts of this PC: address, space, name.'
            throw
        }
        $bytes = [Convert]::FromBase64String({{ps .CABase64}})
        $ca = [Security.Cryptography.X509Certificates.X509Certificate2]::new($bytes)
        $code = Get-Code $ca.RawData ([IO.File]::ReadAllBytes($request))
        Say ''
        Say "       $code"
        Say ''
        Say 'The box has to show the same, on its panel or on the page of its owner. If it does, accept there, and type yes here.'
        Say 'If it does not, somebody may be in between: refuse there. Nothing has been changed on this PC yet.'
        if ([Console]::ReadLine() -ne 'yes') { throw 'Nobody has said that the codes are the same. Refuse on the box.' }

        Say "3 of 4: the authority of $Fqdn, and the certificate"
        $file = Join-Path $folder 'ca.cer'
        [IO.File]::WriteAllBytes($file, $bytes)
        Import-Certificate -FilePath $file -CertStoreLocation Cert:\LocalMachine\Root | Out-Null
        $answer = Join-Path $folder 'client.crt'
        try {
            Invoke-WebRequest "$Page/pair/enrol" -Method Post -Headers @{ 'Authorization' = "Bearer $Secret" } -OutFile $answer
        } catch {
            Say 'The box gave no certificate: it was refused there, or took longer than ten minutes.'
            throw
        }
        Say "4 of 4: Windows shows it to $Fqdn"
        Use-Answer $answer
    } finally {
        [IO.Directory]::Delete($folder, $true)
    }
}

function Find-Addresses([string]$name) {
    try {
        return [Net.Dns]::GetHostAddresses($name).IPAddressToString
    } catch {
        return @()
    }
}

# Why the name for everywhere cannot work from here, in words; '' if it may.
function Find-Obstacle {
    if ($Local -eq $Fqdn) { return '' }
    $there = @(Find-Addresses $Fqdn)
    if ($there.Count -eq 0) { return "The name $Fqdn is not known here: it has to stand in the Internet's DNS, for the address of the router." }
    if ($Port -eq $LocalPort) { return '' }
    $here = @(Find-Addresses $Local)
    if ($there.Where({ $here -contains $_ })) {
        return "Here $Fqdn is the box itself, at UDP port $LocalPort, and elsewhere the router, at $Port."
    }
    return ''
}

function Connect-Drive([string]$drive, [string]$name, [int]$at, $typed) {
    if ($at -ne 443 -and $Build -lt 26100) {
        throw "There the box is reached at UDP port $at, and this Windows (build $Build) knows only 443. Windows 11 24H2 knows others."
    }
    $mapping = @{
        LocalPath = $drive; RemotePath = "\\$name\$Share"; TransportType = 'QUIC'
        UserName = $typed.GetNetworkCredential().UserName; Password = $typed.GetNetworkCredential().Password
        Persistent = $true; SaveCredentials = $true
    }
    if ($at -ne 443) { $mapping['QuicPort'] = $at }
    New-SmbMapping @mapping | Out-Null
    Say "Done: $Share of $name is drive $drive"
}

# By the name for everywhere, if that leads to the box from here; else by the name at home.
function Map-Drive {
    $taken = [IO.DriveInfo]::GetDrives().Name
    $drive = {{ps .Letters}}.Split(' ').Where({ $taken -notcontains ($_ + '\') }, 'First')[0]
    if (-not $drive) { throw 'No drive letter is free.' }
    $typed = $Host.UI.PromptForCredential('Postern', "Password for $Fqdn", $User, '')
    if (-not $typed) { throw 'Without a password the drive is not connected. The PC is paired: run New-SmbMapping later.' }
    $obstacle = Find-Obstacle
    if (-not $obstacle) {
        try {
            Connect-Drive $drive $Fqdn $Port $typed
            return
        } catch {
            if ($Local -eq $Fqdn -and $LocalPort -eq $Port) {
                Explain-Failure $_.Exception.Message
                throw
            }
            $obstacle = "From here the box was not reached as ${Fqdn}: $($_.Exception.Message)"
        }
    }
    Say $obstacle
    Say "Now by its name at home, $Local, and UDP port $LocalPort."
    try {
        Connect-Drive $drive $Local $LocalPort $typed
    } catch {
        Explain-Failure $_.Exception.Message
        throw
    }
    $options = "-UserName '$($typed.GetNetworkCredential().UserName)' -Password ..."
    if ($Port -ne 443) { $options = "-QuicPort $Port $options" }
    Say 'This drive works at home. Elsewhere, once, in PowerShell, with a letter that is free:'
    Say "    New-SmbMapping -LocalPath Y: -RemotePath '\\$Fqdn\$Share' -TransportType QUIC $options -Persistent 1 -SaveCredentials"
    if ($Port -ne $LocalPort) {
        Say "One drive for both needs one port for both: free UDP port $LocalPort of the router for the box."
        return
    }
    Say "One drive for both: have the DNS of your router answer $Fqdn with the address of the box. Many routers also lead back to it"
    Say 'what is sent from home to their outside, if that is switched on ("NAT loopback", "hairpin").'
}

function Explain-Failure([string]$what) {
    Say "The drive was not connected: $what"
    Say "- A wrong password: connect again, after a few seconds."
    Say "- Nothing answers: a firewall on the way has to let UDP port $Port through to $Fqdn, and at home port $LocalPort to $Local."
    Say "- The name is not found away from home: it has to be one that the Internet knows, too."
    Say '- The box refuses: was this PC revoked there? Its log says so, under "audit".'
    Say 'Windows says more in its Event Viewer, under Microsoft, Windows, SMBClient: events 30831, 30832 and 31017.'
}

try {
    if ($Part -eq 'elevated') {
        Pair
        exit 0
    }
    Say "This PC is being paired with $Fqdn."
    if ((Run-Elevated) -ne 0) { throw 'The certificate was not set up. What went wrong stands in the other window.' }
    Map-Drive
    exit 0
}
