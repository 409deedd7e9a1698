"""The server's certificate for HTTPS."""

import ssl

from app.settings import SettingError, Settings
from app.small_file import check_small_file


def check_certificate(settings: Settings) -> None:
    """Raise SettingError for a certificate or key that cannot be used, or that lacks the other."""
    certificate, key = settings.tls_certificate, settings.tls_key
    if not certificate:
        if key:
            raise SettingError("tls_key", key, "there is no certificate: set tls_certificate too")
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        load_certificate(context, settings)
    except ssl.SSLError as error:
        reason = f"it is no PEM file with a certificate, or does not fit its key: {error.reason}"
        raise SettingError("tls_certificate", certificate, reason) from None
    except OSError as error:  # which does not say of which of the two
        reason = f"it, or its key, cannot be read: {error.strerror}"
        raise SettingError("tls_certificate", certificate, reason) from None


def load_certificate(context: ssl.SSLContext, settings: Settings) -> None:
    """Have new connections use the certificate that the files have now. Raises OSError."""
    for path in filter(None, (settings.tls_certificate, settings.tls_key)):
        check_small_file(path)
    # A key with a password cannot be used: nobody is there to type it.
    context.load_cert_chain(  # nosec B106
        settings.tls_certificate, settings.tls_key or None, password=""
    )
