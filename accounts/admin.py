from django.contrib import admin

from accounts.signing_in import admin_sign_in

admin.site.login = admin_sign_in(admin.site.login)  # type: ignore[method-assign]
